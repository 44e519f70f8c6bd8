/** Distances and directions on the ground. */

const EARTH_M = 6_371_009;
const radians = (degrees) => (degrees * Math.PI) / 180;

/** Metres between two `{lat, lon}`. */
export function distance(from, to) {
  const [a, b] = [radians(from.lat), radians(to.lat)];
  const half = Math.sin((b - a) / 2) ** 2 + Math.cos(a) * Math.cos(b) * Math.sin(radians(to.lon - from.lon) / 2) ** 2;
  return 2 * EARTH_M * Math.asin(Math.sqrt(Math.min(1, half)));
}

/** Direction from one to the other, in degrees clockwise from north. */
export function bearing(from, to) {
  const [a, b, across] = [radians(from.lat), radians(to.lat), radians(to.lon - from.lon)];
  const east = Math.sin(across) * Math.cos(b);
  const north = Math.cos(a) * Math.sin(b) - Math.sin(a) * Math.cos(b) * Math.cos(across);
  return ((Math.atan2(east, north) * 180) / Math.PI + 360) % 360;
}

/** How far `direction` lies to the right of `heading`, in -180..180 degrees. */
export function turn(heading, direction) {
  return ((direction - heading + 540) % 360) - 180;
}
