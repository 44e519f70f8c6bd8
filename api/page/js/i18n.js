/** Words, times and numbers in the reader's language and manner. */

import { titleOf } from "./hazards.js";
import { recall, remember } from "./memory.js";
import { WORDS } from "./words.js";

export const LANGUAGES = Object.keys(WORDS);

let language = firstLanguage();

export function currentLanguage() {
  return language;
}

/** Switch to `next` and remember it. */
export function setLanguage(next) {
  if (!LANGUAGES.includes(next)) return;
  language = next;
  remember("language", next);
}

/** The language that the button switches to. */
export function nextLanguage() {
  return LANGUAGES[(LANGUAGES.indexOf(language) + 1) % LANGUAGES.length];
}

/** The word or sentence for `key`; sentences with numbers or names take them as `values`. */
export function t(key, ...values) {
  const word = WORDS[language][key];
  return typeof word === "function" ? word(...values) : (word ?? key);
}

/** A word in a language that is not the reader's, such as the name of the next one. */
export function inLanguage(other, key) {
  return WORDS[other]?.[key] ?? key;
}

/** The name of a hazard or function, or the name itself where the page has no word for it. */
export function nameOf(key) {
  const title = titleOf(key);
  if (title !== undefined) return pick(title);
  const word = Object.hasOwn(WORDS[language], key) ? WORDS[language][key] : key;
  return typeof word === "string" ? word : key;
}

/** The reader's text of one in several languages (`{en, ko, …}`); another language is better than nothing. */
export function pick(pair) {
  if (pair === null || typeof pair !== "object") return "";
  const text = pair[language] || pair.en || pair.ko;
  return typeof text === "string" ? text : "";
}

/** "3 minutes ago" for a time in milliseconds. */
export function ago(at, now = Date.now()) {
  const seconds = Math.min(0, Math.round((at - now) / 1000));
  const format = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
  if (seconds > -10) return format.format(0, "second");
  if (seconds > -60) return format.format(Math.ceil(seconds / 10) * 10, "second");
  if (seconds > -3600) return format.format(Math.ceil(seconds / 60), "minute");
  if (seconds > -86400) return format.format(Math.ceil(seconds / 3600), "hour");
  return format.format(Math.ceil(seconds / 86400), "day");
}

/** Date and time of day; the date is left out where it is today. */
export function moment(at, now = Date.now()) {
  const time = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
  const isToday = new Date(at).toDateString() === new Date(now).toDateString();
  return new Intl.DateTimeFormat(language, isToday ? time : { month: "short", day: "numeric", ...time }).format(at);
}

export function fullMoment(at) {
  return new Intl.DateTimeFormat(language, { dateStyle: "full", timeStyle: "long" }).format(at);
}

/** Hours and minutes of a time in milliseconds. */
export function clock(at) {
  return new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(at);
}

/** A duration for people: milliseconds below a tenth of a second, else seconds. */
export function duration(seconds) {
  return seconds < 0.1 ? t("milliseconds", Math.round(seconds * 1000)) : t("seconds", decimal(seconds));
}

export function percent(share) {
  return new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 0 }).format(share);
}

export function decimal(value, digits = 1) {
  return new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
}

function firstLanguage() {
  const remembered = recall("language");
  if (LANGUAGES.includes(remembered)) return remembered;
  for (const tag of (navigator.languages ?? [navigator.language]).map((one) => String(one).toLowerCase())) {
    // `de-AT` is served by `de`.
    const found = LANGUAGES.find((one) => tag === one.toLowerCase() || tag.startsWith(`${one.toLowerCase()}-`));
    if (found !== undefined) return found;
  }
  return LANGUAGES[0];
}
