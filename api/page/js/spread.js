/** Where pins stand when their places are too close together to be told apart: spread around their middle, or counted as a crowd. */

import { PIN_PX } from "./pins.js";

const TOO_CLOSE_PX = 32;
export const MOST_SPREAD = 6;

/** Stacks whose pins would overlap at this zoom, together: first those too close, then small groups whose spread would meet. */
export function gather(stacks, map) {
  const groups = stacks.map((stack) => ({ center: map.project([stack.lat, stack.lon]), members: [stack] }));
  merge(groups, map, () => TOO_CLOSE_PX);
  merge(groups, map, (a, b) => (a + b > MOST_SPREAD ? 0 : TOO_CLOSE_PX + radius(a) + radius(b)));
  return groups.map((group) => group.members);
}

/** Merge, in place, groups nearer to each other than `reach` of their sizes, in pixels. */
function merge(groups, map, reach) {
  for (let i = 0; i < groups.length; i += 1) {
    for (let j = 0; j < groups.length; j += 1) {
      const [one, other] = [groups[i], groups[j]];
      if (i === j || one.center.distanceTo(other.center) >= reach(one.members.length, other.members.length)) continue;
      one.members.push(...other.members);
      one.center = map.project(middle(one.members));
      groups.splice(j, 1);
      if (j < i) i -= 1;
      j = -1; // The group has grown: look at every other one again.
    }
  }
}

/** Positions around the middle of a group, far enough apart that each pin can be seen and touched. */
export function spread(group, map) {
  if (group.length === 1) return [{ stack: group[0], at: [group[0].lat, group[0].lon], leg: false }];
  const center = map.project(middle(group));
  // In the order of their true directions, so that the legs do not cross.
  const from = group.length === 2 ? -Math.PI : -Math.PI / 2;
  const turn = (stack) => direction(stack, from, center, map);
  const ordered = [...group].sort((a, b) => turn(a) - turn(b) || (a.key < b.key ? -1 : 1));
  return ordered.map((stack, index) => {
    const angle = from + (index / group.length) * 2 * Math.PI;
    const at = map.unproject(center.add([radius(group.length) * Math.cos(angle), radius(group.length) * Math.sin(angle)]));
    return { stack, at: [at.lat, at.lng], leg: true };
  });
}

/** Where a stack truly stands, as an angle clockwise from the angle `from`. */
function direction(stack, from, center, map) {
  const { x, y } = map.project([stack.lat, stack.lon]).subtract(center);
  if (Math.hypot(x, y) < 1) return 0;
  // Half a slot early, so that one that stands just before `from` does not go all the way round.
  return (Math.atan2(y, x) - from + 4 * Math.PI + Math.PI / 6) % (2 * Math.PI);
}

/** How far from the middle the pins of a group of `count` stand, in pixels; a crowd is one pin. */
function radius(count) {
  if (count === 1 || count > MOST_SPREAD) return 0;
  return Math.max(24, ((PIN_PX + 4) * count) / (2 * Math.PI));
}

export function middle(group) {
  const sum = group.reduce(([lat, lon], stack) => [lat + stack.lat, lon + stack.lon], [0, 0]);
  return [sum[0] / group.length, sum[1] / group.length];
}
