/** Words in English and Korean, times and numbers in the reader's manner. */

import { recall, remember } from "./memory.js";

const WORDS = {
  en: {
    skip: "Skip to the alerts", brand: "Bongsu", brandAlso: "봉수",
    views: "Views", viewMap: "Map", viewFeed: "Feed", viewRelay: "Relay",
    filters: "Filters", hazards: "Hazards", spans: "Time",
    hour: "Last hour", day: "Last day", all: "All",
    accident: "Accident", fire: "Fire", gun: "Gun", knife: "Knife", other: "Alert",
    mapArea: "Map of alerts", feedTitle: "Alerts", relayTitle: "The relay",
    relayNote: "Each beacon is a function. It wakes when messages wait for it, and sleeps when they are done.",
    showAll: "Show all", hidden: (n) => `${n} hidden by filters`,
    count: (n) => (n === 1 ? "1 post" : `${n} posts`),
    emptyFeed: "No alerts yet. When a camera sees one, it appears here by itself.",
    emptyFiltered: "No alerts match these filters.", waitingFeed: "Loading …",
    connecting: "Connecting", live: "Live", lost: "Connection lost, retrying",
    toLanguage: "한국어로 보기", theme: (name) => `Theme: ${name}`, themeAuto: "as the system", themeLight: "light", themeDark: "dark",
    open: "Ongoing", closed: "Over", status: "Status",
    camera: "Camera", firstSeen: "First seen", lastSeen: "Last seen", confidence: "Confidence", sightings: "Sightings",
    pinTime: "Camera to map", seconds: (s) => `${s} s`,
    close: "Close", loneCaption: "No description yet.", noPicture: "No picture to show", pictureNote: "Faces are mosaicked.",
    alsoHere: "Also at this place", pictureOf: (what, where) => `Camera picture: ${what}, ${where}`,
    pin: (what, where, when) => `${what}, ${where}, ${when}`, pins: (n) => `${n} alerts here`, cluster: (n) => `${n} alerts close together, zoom in`,
    announce: (what, where) => `New alert: ${what}, ${where}`, showOnMap: "Show on map",
    cameras: "Cameras", motion: "Motion", alwaysOn: "always on", camerasLive: (n) => `${n} live`, camerasLost: (n) => `${n} lost`,
    cameraLive: "live", cameraLost: "lost", cameraUnknown: "not heard yet", noCameras: "No cameras yet.",
    detect: "Detect", map: "Map", caption: "Caption", post: "Post",
    asleep: "asleep", replicas: (n, max) => `${n} of ${max} awake`, waiting: (n) => `${n} waiting`, dead: (n) => (n === 1 ? "1 dead letter" : `${n} dead letters`),
    starting: "waking", noPipeline: "No word from the relay yet.", lastMinutes: (n) => `last ${n} min`, legendReplicas: "replicas", legendWaiting: "messages waiting",
    functionState: (name, n, max, waiting) => `${name}: ${n} of at most ${max} replicas, ${waiting} messages waiting`,
    unknownPlace: "unknown place", zoomIn: "Zoom in", zoomOut: "Zoom out",
    incidentGone: "This alert is not on the map.",
  },
  ko: {
    skip: "경보로 건너뛰기", brand: "봉수", brandAlso: "Bongsu",
    views: "보기", viewMap: "지도", viewFeed: "피드", viewRelay: "중계",
    filters: "필터", hazards: "위험 종류", spans: "기간",
    hour: "1시간", day: "24시간", all: "전체",
    accident: "사고", fire: "화재", gun: "총기", knife: "흉기", other: "경보",
    mapArea: "경보 지도", feedTitle: "경보", relayTitle: "중계 상태",
    relayNote: "봉화 하나가 함수 하나입니다. 메시지가 쌓이면 깨어나고, 처리를 마치면 잠듭니다.",
    showAll: "모두 보기", hidden: (n) => `필터로 ${n}건 숨김`,
    count: (n) => `${n}건`,
    emptyFeed: "아직 경보가 없습니다. 카메라가 포착하면 자동으로 나타납니다.",
    emptyFiltered: "조건에 맞는 경보가 없습니다.", waitingFeed: "불러오는 중 …",
    connecting: "연결 중", live: "실시간", lost: "연결 끊김, 재시도 중",
    toLanguage: "View in English", theme: (name) => `테마: ${name}`, themeAuto: "시스템 설정", themeLight: "밝게", themeDark: "어둡게",
    open: "진행 중", closed: "종료", status: "상태",
    camera: "카메라", firstSeen: "처음 포착", lastSeen: "마지막 포착", confidence: "신뢰도", sightings: "포착 횟수",
    pinTime: "카메라→지도", seconds: (s) => `${s}초`,
    close: "닫기", loneCaption: "아직 설명이 없습니다.", noPicture: "표시할 사진 없음", pictureNote: "얼굴은 모자이크 처리됩니다.",
    alsoHere: "같은 장소의 다른 경보", pictureOf: (what, where) => `카메라 사진: ${what}, ${where}`,
    pin: (what, where, when) => `${what}, ${where}, ${when}`, pins: (n) => `이곳의 경보 ${n}건`, cluster: (n) => `가까운 경보 ${n}건, 확대`,
    announce: (what, where) => `새 경보: ${what}, ${where}`, showOnMap: "지도에서 보기",
    cameras: "카메라", motion: "움직임", alwaysOn: "상시 가동", camerasLive: (n) => `정상 ${n}`, camerasLost: (n) => `끊김 ${n}`,
    cameraLive: "정상", cameraLost: "끊김", cameraUnknown: "소식 없음", noCameras: "아직 카메라가 없습니다.",
    detect: "탐지", map: "지도", caption: "설명", post: "게시",
    asleep: "잠듦", replicas: (n, max) => `${n}/${max} 깨어 있음`, waiting: (n) => `대기 ${n}`, dead: (n) => `처리 불가 ${n}건`,
    starting: "깨어나는 중", noPipeline: "아직 중계 소식이 없습니다.", lastMinutes: (n) => `최근 ${n}분`, legendReplicas: "복제본", legendWaiting: "대기 메시지",
    functionState: (name, n, max, waiting) => `${name}: 복제본 ${n}개(최대 ${max}개), 대기 메시지 ${waiting}개`,
    unknownPlace: "알 수 없는 장소", zoomIn: "확대", zoomOut: "축소",
    incidentGone: "지도에 없는 경보입니다.",
  },
};

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

/** The word or sentence for `key`; sentences with numbers or names take them as `values`. */
export function t(key, ...values) {
  const word = WORDS[language][key];
  return typeof word === "function" ? word(...values) : (word ?? key);
}

/** The name of a hazard or function, or the name itself where the page has no word for it. */
export function nameOf(key) {
  const word = Object.hasOwn(WORDS[language], key) ? WORDS[language][key] : key;
  return typeof word === "string" ? word : key;
}

/** The reader's text of a `{en, ko}` pair; the other language is better than nothing. */
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

export function percent(share) {
  return new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 0 }).format(share);
}

export function decimal(value, digits = 1) {
  return new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
}

function firstLanguage() {
  const remembered = recall("language");
  if (LANGUAGES.includes(remembered)) return remembered;
  const spoken = (navigator.languages ?? [navigator.language]).map((tag) => String(tag).slice(0, 2).toLowerCase());
  return spoken.find((tag) => LANGUAGES.includes(tag)) ?? "en";
}
