// Buttons that protect against unintended clicks. When one button replaces another, the second
// click of a double click, or a key that is still down, must not activate the new button: "Buy"
// replaces "Hold it".

import { h, mark } from "./dom.js";

/** The time without any press before a new button is enabled. Longer than a double click. */
const REST_MS = 600;
/**
 * The longest time that a button is disarmed. The release of a key may never be reported; its
 * repeats are ignored anyway.
 */
const MAX_DISARMED_MS = 3000;

/** The keys and pointers that are down. @type {Set<string>} */
const down = new Set();
let releasedAt = -Infinity;

/** @param {string} name */
function released(name) {
  if (down.delete(name)) releasedAt = performance.now();
}
addEventListener("keydown", ({ code }) => down.add(code), true);
addEventListener("keyup", ({ code }) => released(code), true);
addEventListener("pointerdown", ({ pointerId }) => down.add(`pointer ${pointerId}`), true);
for (const type of ["pointerup", "pointercancel"])
  addEventListener(
    type,
    (event) => released(`pointer ${/** @type {PointerEvent} */ (event).pointerId}`),
    true,
  );
addEventListener("blur", () => down.clear());

/**
 * Creates a button. It ignores the second click of a double click, and all clicks while it is
 * disarmed.
 * @param {string} words
 * @param {string} kind
 * @param {() => unknown} act
 */
export function button(words, kind, act) {
  const made = h("button", { type: "button", class: kind }, words);
  made.addEventListener("click", ({ detail }) => {
    if (detail <= 1 && !made.hasAttribute("aria-disabled")) void act();
  });
  made.addEventListener("keydown", (event) => {
    if (event.repeat && (event.key === "Enter" || event.key === " ")) event.preventDefault();
  });
  return made;
}

/**
 * Disarms buttons until all keys and pointers are released and a moment has passed. Meanwhile they
 * are visible and focusable, and `aria-disabled`. Returns a function that must be called
 * periodically.
 * @param {Iterable<Element>} buttons @param {() => void} [onArmed] called once
 */
export function disarm(buttons, onArmed = () => {}) {
  const all = [...buttons];
  const since = performance.now();
  for (const one of all) mark(one, "aria-disabled", "true");
  let isArmed = false;
  return () => {
    const now = performance.now();
    const isAtRest = down.size === 0 && now - Math.max(since, releasedAt) >= REST_MS;
    if (isArmed || !(isAtRest || now - since >= MAX_DISARMED_MS)) return;
    isArmed = true;
    for (const one of all) one.removeAttribute("aria-disabled");
    onArmed();
  };
}
