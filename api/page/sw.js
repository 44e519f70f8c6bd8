/**
 * The service worker: keeps the page's own files for when there is no network, and shows warnings that were pushed.
 *
 * Nothing of the API is kept: what a map without a network shows would be over. All addresses are relative to the scope, so the
 * page may lie under a path such as /cctv/.
 */

// The server writes the page's files and their digest here, so that a new version is a new worker.
const FILES = [];
const VERSION = "0";

const SHELL = `bongsu-shell-${VERSION}`;
const WISH = "bongsu-wish";
const NEVER_KEPT = ["api/", "feed.json", "feed.atom", "cap.xml", "cap/", "healthz", "livez", "openapi.json", "clip.mp4", "push/", "sw.js"];
const SLOW_MS = 4_000;

const here = (path) => new URL(path, registration.scope).href;

addEventListener("install", (event) => {
  event.waitUntil(keepShell());
});

addEventListener("activate", (event) => {
  event.waitUntil(dropOldShells());
});

addEventListener("fetch", (event) => {
  const { request } = event;
  const path = request.url.startsWith(registration.scope) ? request.url.slice(registration.scope.length) : null;
  if (request.method !== "GET" || path === null || NEVER_KEPT.some((start) => path.startsWith(start))) return;
  event.respondWith(answer(request));
});

addEventListener("push", (event) => {
  event.waitUntil(show(read(event.data)));
});

addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(open(event.notification.data?.url ?? "./"));
});

addEventListener("pushsubscriptionchange", (event) => {
  event.waitUntil(subscribeAgain(event.oldSubscription));
});

async function keepShell() {
  const shell = await caches.open(SHELL);
  // "reload" passes the browser's own cache by: an old file must not become part of a new version.
  await shell.addAll(["./", "hazards.json", ...FILES].map((path) => new Request(here(path), { cache: "reload" })));
  await skipWaiting();
}

async function dropOldShells() {
  for (const name of await caches.keys()) {
    if (name.startsWith("bongsu-shell-") && name !== SHELL) await caches.delete(name);
  }
  await clients.claim();
}

/** From the network, so that the page is always the server's; from what is kept where that fails or takes too long. */
async function answer(request) {
  const isPage = request.mode === "navigate";
  const kept = () => caches.match(isPage ? here("./") : request, { cacheName: SHELL, ignoreSearch: isPage, ignoreVary: true });
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("slow")), SLOW_MS);
  });
  const asked = fetch(request);
  try {
    const response = await Promise.race([asked, late]);
    // A proxy whose server is away answers for it.
    if (response.status < 500) return response;
    return (await kept()) ?? response;
  } catch {
    return (await kept()) ?? asked;
  } finally {
    clearTimeout(timer);
  }
}

/** What a push message says; something that can be shown whatever it is, for the browser shows a text of its own otherwise. */
function read(data) {
  let said = null;
  try {
    said = data?.json();
  } catch {
    // Not ours: what follows is shown.
  }
  const text = (value, otherwise = "") => (typeof value === "string" && value !== "" ? value : otherwise);
  return {
    tag: text(said?.tag, "bongsu"),
    state: text(said?.state, "alert"),
    lang: text(said?.lang, "en"),
    title: text(said?.title, "Bongsu 봉수"),
    body: text(said?.body),
    at: Number.isFinite(said?.at) ? said.at : Date.now(),
    url: text(said?.url, "./"),
    image: text(said?.image),
  };
}

async function show({ tag, state, lang, title, body, at, url, image }) {
  const [shown] = await registration.getNotifications({ tag });
  // Messages may overtake each other: a withdrawn alert does not come back.
  if (shown?.data?.state === "withdrawn" && state !== "withdrawn") return;
  await registration.showNotification(title, {
    tag,
    lang,
    body,
    timestamp: at,
    data: { url, state },
    icon: here("static/icons/icon-192.png"),
    badge: here("static/icons/badge-96.png"),
    ...(ours(image) && { image: here(image) }),
    // Only a new alert makes a sound; what follows about it changes in silence.
    renotify: state === "alert",
    silent: state !== "alert",
  });
}

function ours(path) {
  return path !== "" && here(path).startsWith(registration.scope);
}

async function open(path) {
  const target = ours(path) ? here(path) : registration.scope;
  const pages = await clients.matchAll({ type: "window", includeUncontrolled: true });
  const page = pages.find((one) => one.url.startsWith(registration.scope));
  if (page === undefined) return clients.openWindow(target);
  await page.focus();
  page.postMessage({ open: new URL(target).search });
  return page;
}

/** The browser has replaced the subscription: ask for the same warnings with the new one. */
async function subscribeAgain(old) {
  const wish = await (await caches.open(WISH)).match(here("wish"));
  if (wish === undefined) return;
  const offer = await (await fetch(here("api/push"))).json();
  if (!offer.key) return;
  const fresh = await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: offer.key });
  const send = (path, body) => fetch(here(path), { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  const { endpoint, keys } = fresh.toJSON();
  await send("api/push/subscriptions", { ...(await wish.json()), endpoint, keys });
  if (old && old.endpoint !== endpoint) await send("push/unsubscribe", { endpoint: old.endpoint });
}
