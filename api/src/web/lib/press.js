// Buttons that mean what was pressed. Where one takes the place of another, the second half of a double click, or a key that is still
// down, must not press what it never saw: buying is one click away from holding.

import { h, mark } from "./dom.js";

/** How long nothing was pressed before a new button can be. Longer than any double click. */
const REST_MS = 600;
/** A key whose release was never heard of does not lock anybody out; its repeats are ignored anyway. */
const PATIENCE_MS = 3000;

/** Keys and pointers that are down. @type {Set<string>} */
const down = new Set();
let releasedAt = -Infinity;

/** @param {string} name */
function lift(name) {
  if (down.delete(name)) releasedAt = performance.now();
}
addEventListener("keydown", ({ code }) => down.add(code), true);
addEventListener("keyup", ({ code }) => lift(code), true);
addEventListener("pointerdown", ({ pointerId }) => down.add(`pointer ${pointerId}`), true);
for (const type of ["pointerup", "pointercancel"]) addEventListener(type, (event) => lift(`pointer ${/** @type {PointerEvent} */ (event).pointerId}`), true);
addEventListener("blur", () => down.clear());

/** A button. It takes one press of two that come fast, and none while it is disarmed. @param {string} words @param {string} kind @param {() => unknown} act */
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
 * Disarms buttons until all that is down was let go and a moment has passed. They can be found and focused meanwhile, and say that
 * they cannot be pressed yet. Gives what has to be called now and then.
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
    if (isArmed || !(isAtRest || now - since >= PATIENCE_MS)) return;
    isArmed = true;
    for (const one of all) one.removeAttribute("aria-disabled");
    onArmed();
  };
}
