/** The offline base map: the world's land, Korea's provinces, its districts when one looks closer, and their names. */

import { currentLanguage } from "./i18n.js";
import { el } from "./dom.js";

export const KOREA = [
  [33.1, 125.0],
  [38.6, 130.0],
];
export const ATTRIBUTION = "국토지리정보원 NGII, data.go.kr · Natural Earth";
const DISTRICTS_FROM_ZOOM = 9;
const NAMES_FROM_ZOOM = 6;
const MOST_LABELS = 60;

// code: [English, Korean, latitude and longitude of the label]; a city is named only from closer by.
const PROVINCES = {
  11: ["Seoul", "서울", 37.56, 126.99, "city"],
  26: ["Busan", "부산", 35.2, 129.06, "city"],
  27: ["Daegu", "대구", 35.83, 128.56, "city"],
  28: ["Incheon", "인천", 37.5, 126.62, "city"],
  29: ["Gwangju", "광주", 35.16, 126.84, "city"],
  30: ["Daejeon", "대전", 36.34, 127.39, "city"],
  31: ["Ulsan", "울산", 35.55, 129.24, "city"],
  36: ["Sejong", "세종", 36.56, 127.26, "city"],
  41: ["Gyeonggi", "경기", 37.3, 127.45, "province"],
  42: ["Gangwon", "강원", 37.75, 128.3, "province"],
  43: ["Chungbuk", "충북", 36.82, 127.8, "province"],
  44: ["Chungnam", "충남", 36.52, 126.8, "province"],
  45: ["Jeonbuk", "전북", 35.72, 127.1, "province"],
  46: ["Jeonnam", "전남", 34.85, 126.95, "province"],
  47: ["Gyeongbuk", "경북", 36.35, 128.75, "province"],
  48: ["Gyeongnam", "경남", 35.32, 128.25, "province"],
  50: ["Jeju", "제주", 33.38, 126.55, "province"],
};

/** Draw the outlines under everything else; returns a function that writes the names in the current language. */
export function drawBase(map) {
  for (const [name, zIndex] of [
    ["land", 150],
    ["names", 450],
  ]) {
    map.createPane(name).style.zIndex = zIndex;
    map.getPane(name).style.pointerEvents = "none";
  }
  // Drawn well beyond the edge of the view, so that dragging the map does not show where the land was cut off.
  const renderer = L.svg({ pane: "land", padding: 0.7 });
  const outline = (rank) => L.geoJSON(null, { interactive: false, pane: "land", renderer, style: { className: `land land-${rank}` } });
  const names = L.layerGroup().addTo(map);
  let provinces = null;
  let districts = null;
  let districtPoints = [];

  const writeNames = () => {
    names.clearLayers();
    const taken = [];
    const write = (at, text, rank) => {
      const box = boxOf(map.latLngToContainerPoint(at), text);
      if (taken.some((other) => overlap(box, other))) return;
      taken.push(box);
      names.addLayer(label(at, text, rank));
    };
    const zoom = map.getZoom();
    if (zoom < NAMES_FROM_ZOOM) return;
    if (zoom >= DISTRICTS_FROM_ZOOM + 1 && districts !== null) {
      const view = map.getBounds();
      const inView = districtPoints.filter((point) => view.contains(point.at)).slice(0, MOST_LABELS);
      for (const { at, ko, en } of inView) write(at, currentLanguage() === "ko" ? ko : en, "district");
      return;
    }
    for (const [english, korean, lat, lon, rank] of Object.values(PROVINCES)) {
      if (rank === "city" && zoom < 8) continue;
      write([lat, lon], currentLanguage() === "ko" ? korean : english, rank);
    }
  };

  const look = async () => {
    const isClose = map.getZoom() >= DISTRICTS_FROM_ZOOM;
    if (isClose && districts === null) {
      districts = outline("district");
      const shapes = await read("/static/vendor/korea/districts.geojson");
      if (shapes !== null) {
        districts.addData(shapes);
        districtPoints = shapes.features.map((feature) => ({
          at: middle(feature.geometry.coordinates[0][0]),
          ko: feature.properties.ko,
          en: feature.properties.en,
        }));
        look();
        return;
      }
    }
    const showsDistricts = map.getZoom() >= DISTRICTS_FROM_ZOOM && districtPoints.length > 0;
    if (districts !== null) toggle(map, districts, showsDistricts);
    // Provinces are drawn over their districts, as outlines only, so that their borders are the stronger ones.
    map.getPane("land").classList.toggle("is-close", showsDistricts);
    if (showsDistricts) provinces?.bringToFront();
    writeNames();
  };

  read("/static/vendor/world/land.geojson").then((shapes) => {
    if (shapes !== null) outline("world").addData(shapes).addTo(map).bringToBack();
  });
  read("/static/vendor/korea/provinces.geojson").then((shapes) => {
    if (shapes === null) return;
    provinces = outline("province").addData(shapes).addTo(map);
    look();
  });
  map.on("zoomend", look);
  map.on("moveend", writeNames);
  return writeNames;
}

function label(at, text, rank) {
  const html = el("span", { class: `place-name place-${rank}`, text, "aria-hidden": "true" });
  const icon = L.divIcon({ className: "place", html, iconSize: [0, 0] });
  return L.marker(at, { icon, interactive: false, keyboard: false, pane: "names" });
}

/** Roughly the pixels that a name covers; a name that would cover another is left out. */
function boxOf({ x, y }, text) {
  const half = (text.length * (text.charCodeAt(0) > 0x1100 ? 12 : 7)) / 2 + 3;
  return { left: x - half, right: x + half, top: y - 9, bottom: y + 9 };
}

function overlap(a, b) {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}

function toggle(map, layer, isShown) {
  if (isShown && !map.hasLayer(layer)) layer.addTo(map);
  if (!isShown && map.hasLayer(layer)) layer.remove();
}

/** Middle of a ring's bounds, as [lat, lon]. */
function middle(ring) {
  const lons = ring.map(([lon]) => lon);
  const lats = ring.map(([, lat]) => lat);
  return [(Math.min(...lats) + Math.max(...lats)) / 2, (Math.min(...lons) + Math.max(...lons)) / 2];
}

/** The GeoJSON, or null: without outlines the pins still stand where they belong. */
async function read(url) {
  try {
    const response = await fetch(url);
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}
