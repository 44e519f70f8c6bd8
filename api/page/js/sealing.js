/** Opens sealed clips with the operator's private key: HPKE (RFC 9180) by the browser's own cryptography. The key stays here. */

const MAGIC = "bongsu clip 1\n";
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
  const secret = await crypto.subtle.importKey("pkcs8", bytes(PKCS8, raw), "X25519", false, ["deriveBits"]);
  return { secret, point: await agree(secret, BASE_POINT) };
}

/**
 * The video of a sealed clip.
 * @param {ArrayBuffer} sealed
 * @throws {SealError} it was sealed for another key, or altered
 */
export async function unseal(sealed, { secret, point }) {
  const all = new Uint8Array(sealed);
  const end = all.subarray(0, HEAD_MOST).indexOf(0x0a, MAGIC.length) + 1;
  if (end === 0 || new TextDecoder().decode(all.subarray(0, MAGIC.length)) !== MAGIC) throw new SealError("clip");
  const head = all.subarray(0, end);
  const sender = all.subarray(end, end + POINT_BYTES);
  try {
    const prk = await extract(KEM, [], "eae_prk", await agree(secret, sender));
    const shared = await expand(KEM, prk, "shared_secret", bytes(sender, point), 32);
    const context = bytes([0], await extract(SUITE, [], "psk_id_hash", []), await extract(SUITE, [], "info_hash", head));
    const main = await extract(SUITE, shared, "secret", []);
    const key = await crypto.subtle.importKey("raw", await expand(SUITE, main, "key", context, 32), "AES-GCM", false, ["decrypt"]);
    const iv = await expand(SUITE, main, "base_nonce", context, 12);
    return await crypto.subtle.decrypt({ name: "AES-GCM", iv }, key, all.subarray(end + POINT_BYTES));
  } catch {
    throw new SealError("clip");
  }
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
