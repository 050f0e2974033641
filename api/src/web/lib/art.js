// A generated drawing for a drop without a picture. The drawing is a function of the drop's id.

import { svg } from "./dom.js";

const [WIDTH, HEIGHT] = [400, 300];

/** A background color and three matching colors each. */
const PALETTES = [
  ["#e9e4d8", "#1f5c4d", "#d98a4b", "#24312d"],
  ["#1d2b3a", "#e0a458", "#5b8e9b", "#f0e7d8"],
  ["#f1ddd0", "#b4472f", "#2e4a52", "#e3a587"],
  ["#dfe7e4", "#2f5d78", "#e2725b", "#17323f"],
  ["#2c2536", "#c9804f", "#8c6f9e", "#efe3d3"],
  ["#e6e9dc", "#6a7b3c", "#c75b39", "#343d22"],
];

/** @param {string} id a UUID @returns {SVGSVGElement} */
export function art(id) {
  const random = generator(id);
  const palette = PALETTES[Math.floor(random() * PALETTES.length)] ?? [];
  const [paper = "#eee", first = "#444", second = "#888", third = "#222"] = palette;
  const motifs = [waves, hills, moons, weave];
  const motif = motifs[Math.floor(random() * motifs.length)] ?? waves;
  return svg(
    "svg",
    {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: "xMidYMid slice",
      "aria-hidden": "true",
      focusable: "false",
    },
    svg("rect", { width: WIDTH, height: HEIGHT, fill: paper }),
    ...motif(random, first, second, third),
  );
}

/**
 * A deterministic sequence of numbers from 0 to 1, seeded by a text (FNV-1a, then mulberry32).
 * @param {string} text
 */
function generator(text) {
  let state = 0x811c9dc5;
  for (const character of text) state = Math.imul(state ^ character.charCodeAt(0), 0x01000193);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/**
 * @typedef {(random: () => number, first: string, second: string, third: string) => SVGElement[]}
 *   Motif
 */

/** @type {Motif} */
function waves(random, first, second, third) {
  const sun = svg("circle", {
    cx: 90 + 220 * random(),
    cy: 90 + 30 * random(),
    r: 44 + 20 * random(),
    fill: second,
  });
  const lift = 16 + 12 * random();
  const wave = (/** @type {number} */ index) => {
    const top = 150 + 36 * index;
    const d = `M-40 ${top}q60 ${-lift} 120 0t120 0t120 0t120 0t120 0V${HEIGHT}H-40z`;
    return svg("path", {
      d,
      fill: index % 2 ? third : first,
      opacity: 0.95 - 0.12 * index,
      transform: `translate(${-30 * index * random()})`,
    });
  };
  return [sun, wave(0), wave(1), wave(2), wave(3)];
}

/** @type {Motif} */
function hills(random, first, second, third) {
  const hill = (/** @type {number} */ index) => {
    const [x, peak] = [60 + 280 * random(), 90 + 45 * index + 20 * random()];
    return svg("path", {
      d: `M${x - 260} ${HEIGHT}L${x} ${peak}L${x + 260} ${HEIGHT}z`,
      fill: [third, first, second][index % 3] ?? first,
      opacity: 0.92,
    });
  };
  return [
    svg("circle", { cx: 300 - 200 * random(), cy: 76, r: 34, fill: second }),
    hill(0),
    hill(1),
    hill(2),
  ];
}

/** @type {Motif} */
function moons(random, first, second, third) {
  const [x, y] = [150 + 100 * random(), 130 + 40 * random()];
  const rings = [118, 92, 66, 40].map((r, index) =>
    svg("circle", { cx: x, cy: y, r, fill: [third, first, second, third][index] ?? first }),
  );
  const bite = svg("circle", { cx: x + 16, cy: y - 12, r: 40, fill: second });
  return [...rings, bite, svg("rect", { x: 0, y: 246, width: WIDTH, height: 54, fill: first })];
}

/** @type {Motif} */
function weave(random, first, second, third) {
  const bands = [];
  for (let column = 0; column < 5; column += 1) {
    for (let row = 0; row < 4; row += 1) {
      const [x, y, turn] = [column * 80, row * 75, Math.floor(4 * random())];
      const fill = [first, second, third, first][turn] ?? first;
      const shapes = [
        `M${x} ${y}h80v75z`,
        `M${x} ${y}v75h80z`,
        `M${x} ${y}h80a80 75 0 0 1-80 75z`,
        `M${x + 80} ${y}v75h-80a80 75 0 0 1 80-75z`,
      ];
      bands.push(svg("path", { d: shapes[turn] ?? "", fill }));
    }
  }
  return bands;
}
