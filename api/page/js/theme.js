/* The theme before the first paint; a classic script in <head>, so that the page never flashes in the wrong colours. */
(() => {
  let theme = null;
  try {
    theme = localStorage.getItem("bongsu.theme");
  } catch {
    // Storage may be forbidden; then the system decides.
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
