// Isolates user-provided text, such as the name of a drop, inside a sentence.
//
// Right-to-left text, or characters that change the direction, would reorder the surrounding text.
// A separate element is isolated by `dir="auto"`. Inside a sentence the text is placed between
// FIRST STRONG ISOLATE and POP DIRECTIONAL ISOLATE (UAX #9, section 2.4).

/**
 * Embeddings, overrides and isolates. Names in an older log can contain them, and they could end
 * our isolate.
 */
const EXPLICIT = /[\u202a-\u202e\u2066-\u2069]/g;
/** Right-to-left scripts and marks. Without them a text cannot change the direction. */
const RIGHT_TO_LEFT =
  /[\u0590-\u08ff\u200f\u202a-\u202e\u2066-\u2069\ufb1d-\ufdff\ufe70-\ufeff\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/** Isolates a text for use inside a sentence. @param {string} text */
export function isolate(text) {
  return RIGHT_TO_LEFT.test(text) ? `\u2068${text.replace(EXPLICIT, "")}\u2069` : text;
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
    : "Unnamed";
}
