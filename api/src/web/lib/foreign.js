// Text that somebody else wrote, such as a drop's name, inside a sentence of ours.
//
// Text that runs from right to left, or has characters that change the direction, would turn what
// stands next to it around. As an element of its own it is isolated by `dir="auto"`; inside a
// sentence it is put between FIRST STRONG ISOLATE and POP DIRECTIONAL ISOLATE (UAX #9, section 2.4).

/** Embeddings, overrides and isolates: a name of an older log may have them, and could end ours. */
const EXPLICIT = /[\u202a-\u202e\u2066-\u2069]/g;
/** Whether the direction can be anything but ours: the scripts and the marks that run from right to left. */
const TURNS = /[\u0590-\u08ff\u200f\u202a-\u202e\u2066-\u2069\ufb1d-\ufdff\ufe70-\ufeff\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/** For use inside a sentence. @param {string} text */
export function foreign(text) {
  return TURNS.test(text) ? `\u2068${text.replace(EXPLICIT, "")}\u2069` : text;
}

/** What stands at the place of a name in which nothing can be seen, which an older log may have. @param {string} name */
export function named(name) {
  return /[\p{L}\p{N}\p{P}\p{S}]/u.test(name.replace(/[\u2800\u{1d159}\p{Default_Ignorable_Code_Point}]/gu, "")) ? name : "Without a name";
}
