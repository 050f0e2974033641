// Isolates user-provided text, such as the name of a drop, inside a sentence.
//
// Right-to-left text, or characters that change the direction, would reorder the surrounding text.
// A separate element is isolated by `dir="auto"`. Inside a sentence the text is placed between
// FIRST STRONG ISOLATE and POP DIRECTIONAL ISOLATE (UAX #9, section 2.4).

import { language, text } from "./text.js";

/**
 * Embeddings, overrides and isolates. Names in an older log can contain them, and they could end
 * our isolate.
 */
const EXPLICIT = /[\u202a-\u202e\u2066-\u2069]/g;
/** Right-to-left scripts and marks. Without them a text cannot change the direction. */
const RIGHT_TO_LEFT =
  /[\u0590-\u08ff\u200f\u202a-\u202e\u2066-\u2069\ufb1d-\ufdff\ufe70-\ufeff\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/** In a right-to-left sentence the letters of every other script change the direction. */
const LETTER = /\p{L}/u;

/** Isolates a text for use inside a sentence. @param {string} foreign */
export function isolate(foreign) {
  const isOther =
    RIGHT_TO_LEFT.test(foreign) || (language().direction === "rtl" && LETTER.test(foreign));
  return isOther ? `\u2068${foreign.replace(EXPLICIT, "")}\u2069` : foreign;
}

/**
 * Replaces a name without visible characters, which an older log can contain.
 * @param {string} name
 */
export function nameOrUnnamed(name) {
  return /[\p{L}\p{N}\p{P}\p{S}]/u.test(
    name.replace(/[\u2800\u{1d159}\p{Default_Ignorable_Code_Point}]/gu, ""),
  )
    ? name
    : text("drop.unnamed");
}
