/** What this browser remembers of its reader: language and theme. Storage may be forbidden; then nothing is remembered. */

export function recall(key) {
  try {
    return localStorage.getItem(`bongsu.${key}`);
  } catch {
    return null;
  }
}

export function remember(key, value) {
  try {
    if (value === null) localStorage.removeItem(`bongsu.${key}`);
    else localStorage.setItem(`bongsu.${key}`, value);
  } catch {
    // Nothing to do: the choice holds until the page is closed.
  }
}
