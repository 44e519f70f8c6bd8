/** Installing the page and subscribing to warnings: the service worker, the browser's subscription, and what the reader wants. */

import { BASE } from "./dom.js";
import { fetchJson } from "./http.js";

const WISH = "bongsu-wish";
const RENEW_MS = 24 * 3600 * 1000;

/** Why a browser cannot be warned, or null: "insecure", "install" (an iPhone warns installed pages only) or "unsupported". */
export function obstacle() {
  if (!isSecureContext) return "insecure";
  if ("serviceWorker" in navigator && "PushManager" in window && "Notification" in window) return null;
  return "standalone" in navigator && !navigator.standalone ? "install" : "unsupported";
}

/**
 * Register the service worker, and renew the subscription. Never throws: the page works without.
 * @param {(incident: string) => void} open called when a notification is touched while the page is open
 */
export async function install(open) {
  if (!isSecureContext || !("serviceWorker" in navigator)) return;
  navigator.serviceWorker.addEventListener("message", ({ data }) => {
    const id = new URLSearchParams(String(data?.open ?? "")).get("incident");
    if (id !== null) open(id);
  });
  try {
    await navigator.serviceWorker.register(`${BASE}sw.js`, { scope: BASE, updateViaCache: "none" });
    await renew();
  } catch (error) {
    console.warn("the page is not kept for offline use, or its subscription to warnings was not renewed", error);
  }
}

/** The key that warnings are signed with; null where the site sends none. */
export async function offeredKey() {
  const { key } = await fetchJson("api/push");
  return typeof key === "string" ? key : null;
}

/** What this browser is warned of: `{hazards, area, language, quiet}`, or null. */
export async function currentWish() {
  if (obstacle() !== null) return null;
  const subscription = await (await navigator.serviceWorker.ready).pushManager.getSubscription();
  const kept = await (await caches.open(WISH)).match(new URL("wish", document.baseURI));
  return subscription === null || kept === undefined ? null : kept.json();
}

/**
 * Have this browser warned.
 * @throws {Error} "denied" where the reader or the browser forbids notifications; {Refused} where the server does
 */
export async function subscribe(wish) {
  const key = await offeredKey();
  if (key === null) throw new Error("off");
  if ((await Notification.requestPermission()) !== "granted") throw new Error("denied");
  const { pushManager } = await navigator.serviceWorker.ready;
  let subscription = await pushManager.getSubscription();
  if (subscription !== null && !isFor(subscription, key)) {
    await subscription.unsubscribe();
    subscription = null;
  }
  subscription ??= await pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
  await send(subscription, wish);
}

/** End all warnings; the server forgets the subscription, and so does the browser. */
export async function unsubscribe() {
  const subscription = await (await navigator.serviceWorker.ready).pushManager.getSubscription();
  await (await caches.open(WISH)).delete(new URL("wish", document.baseURI));
  if (subscription === null) return;
  await fetchJson("push/unsubscribe", { method: "POST", body: { endpoint: subscription.endpoint } });
  await subscription.unsubscribe();
}

/** Tell the server once a day that this browser is still there, and again where the site's key was replaced. */
async function renew() {
  const wish = await currentWish();
  if (wish === null || Notification.permission !== "granted") return;
  const kept = await (await caches.open(WISH)).match(new URL("wish", document.baseURI));
  if (Date.now() - Number(kept.headers.get("X-Kept-At")) > RENEW_MS) await subscribe(wish);
}

async function send(subscription, wish) {
  const { endpoint, keys } = subscription.toJSON();
  await fetchJson("api/push/subscriptions", { method: "POST", body: { ...wish, endpoint, keys } });
  // Kept where the service worker finds it too, which has to subscribe again when the browser replaces a subscription.
  const kept = new Response(JSON.stringify(wish), { headers: { "X-Kept-At": String(Date.now()) } });
  await (await caches.open(WISH)).put(new URL("wish", document.baseURI), kept);
}

function isFor(subscription, key) {
  const bytes = new Uint8Array(subscription.options.applicationServerKey ?? []);
  const text = btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return text === key;
}
