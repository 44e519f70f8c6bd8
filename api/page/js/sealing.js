/** Opens sealed clips with the operator's private key: HPKE (RFC 9180) by the browser's own cryptography. The key stays here. */

const MAGIC = "bongsu clip 1\n";
/** A clip that several keys open: each opens a key pair of the clip's own, and that the video. */
const SHARED_MAGIC = "bongsu clip 2\n";
const WRAPPED_BYTES = 80;
const PRIVATE = "bongsu-originals-private-";
const HEAD_MOST = 400;
const POINT_BYTES = 32;
// DER of an X25519 private key up to its 32 bytes (RFC 8410).
const PKCS8 = Uint8Array.from([0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20]);
const BASE_POINT = Uint8Array.from({ length: POINT_BYTES }, (_, at) => (at === 0 ? 9 : 0));
// DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
const KEM = bytes("KEM", [0x00, 0x20]);
const SUITE = bytes("HPKE", [0x00, 0x20, 0x00, 0x01, 0x00, 0x02]);

/** The file is not a key, or not a clip that this key opens. */
export class SealError extends Error {}

/** Whether this browser, on this address, can open clips. */
export function canUnseal() {
  return globalThis.crypto?.subtle !== undefined;
}

/**
 * The private key of the text in its file, as `bongsu originals keygen` wrote it.
 * @returns {Promise<{secret: CryptoKey, point: Uint8Array}>}
 * @throws {SealError} the text is not such a key
 */
export async function readKey(text) {
  const written = text.trim();
  if (!written.startsWith(PRIVATE)) throw new SealError("key");
  let raw;
  try {
    raw = Uint8Array.from(atob(written.slice(PRIVATE.length).replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));
  } catch {
    throw new SealError("key");
  }
  if (raw.length !== POINT_BYTES) throw new SealError("key");
  return importSecret(raw);
}

async function importSecret(raw) {
  const secret = await crypto.subtle.importKey("pkcs8", bytes(PKCS8, raw), "X25519", false, ["deriveBits"]);
  return { secret, point: await agree(secret, BASE_POINT) };
}

/**
 * The video of a sealed clip.
 * @param {ArrayBuffer} sealed
 * @throws {SealError} it was sealed for another key, or altered
 */
export async function unseal(sealed, key) {
  const all = new Uint8Array(sealed);
  const end = all.subarray(0, HEAD_MOST).indexOf(0x0a, MAGIC.length) + 1;
  const magic = new TextDecoder().decode(all.subarray(0, MAGIC.length));
  if (end === 0 || (magic !== MAGIC && magic !== SHARED_MAGIC)) throw new SealError("clip");
  const head = all.subarray(0, end);
  try {
    if (magic === MAGIC) return await open(head, all.subarray(end), key);
    const { keys } = JSON.parse(new TextDecoder().decode(all.subarray(MAGIC.length, end)));
    const video = end + keys * WRAPPED_BYTES;
    const once = await openAny(head, all.subarray(end, video), key);
    return await open(head, all.subarray(video), await importSecret(new Uint8Array(once)));
  } catch {
    throw new SealError("clip");
  }
}

/** The private key of the clip, sealed for several keys one after another: it is in the part that this key opens. */
async function openAny(head, wrapped, key) {
  const parts = [];
  for (let at = 0; at < wrapped.length; at += WRAPPED_BYTES) parts.push(wrapped.subarray(at, at + WRAPPED_BYTES));
  return Promise.any(parts.map((part) => open(head, part, key)));
}

async function open(head, content, { secret, point }) {
  const sender = content.subarray(0, POINT_BYTES);
  const prk = await extract(KEM, [], "eae_prk", await agree(secret, sender));
  const shared = await expand(KEM, prk, "shared_secret", bytes(sender, point), 32);
  const context = bytes([0], await extract(SUITE, [], "psk_id_hash", []), await extract(SUITE, [], "info_hash", head));
  const main = await extract(SUITE, shared, "secret", []);
  const key = await crypto.subtle.importKey("raw", await expand(SUITE, main, "key", context, 32), "AES-GCM", false, ["decrypt"]);
  const iv = await expand(SUITE, main, "base_nonce", context, 12);
  return crypto.subtle.decrypt({ name: "AES-GCM", iv }, key, content.subarray(POINT_BYTES));
}

async function agree(secret, point) {
  const other = await crypto.subtle.importKey("raw", point, "X25519", true, []);
  return new Uint8Array(await crypto.subtle.deriveBits({ name: "X25519", public: other }, secret, 256));
}

function extract(suite, salt, label, content) {
  return hmac(salt, bytes("HPKE-v1", suite, label, content));
}

/** At most the 32 bytes of one block. */
async function expand(suite, key, label, content, length) {
  return (await hmac(key, bytes([0, length], "HPKE-v1", suite, label, content, [1]))).subarray(0, length);
}

async function hmac(key, content) {
  // An absent salt is as many zeros as the digest has bytes.
  const raw = key.length === 0 ? new Uint8Array(32) : key;
  const imported = await crypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, content));
}

function bytes(...parts) {
  const found = parts.map((part) => (typeof part === "string" ? new TextEncoder().encode(part) : part));
  const joined = new Uint8Array(found.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of found) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}
