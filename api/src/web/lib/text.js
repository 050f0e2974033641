// The texts of the pages in the language of the page: `text("cart.title")`, and with values
// `text("unit.count", { count: 3 })`. The catalogues are in `web/texts/`; the server sends them as
// modules.
//
// A text is one string, or an object with one form for each plural category of the language, which
// `count` selects. A number in the values is formatted in the language. An element with another
// language than the page (<holdfast-drop lang="…">) uses `inLanguage`.

/**
 * @typedef {string | Record<string, string>} Message
 * @typedef {{tag: string, direction: "ltr" | "rtl", numbers: string, dates: string,
 *   messages: Record<string, Message>}} Language
 * @typedef {Record<string, string | number>} Values
 */

/** A language tag; anything else means English. */
const TAG = /^[a-z]{2,3}(-[a-z0-9]{2,8})*$/i;
const ENGLISH = "en";

/** The requested languages, by tag. @type {Map<string, Promise<Language>>} */
const requested = new Map();

/** Returns a language, or the nearest that the server has. @param {string} tag */
export function languageOf(tag) {
  const wanted = TAG.test(tag) ? tag : ENGLISH;
  let found = requested.get(wanted);
  if (!found) {
    found = import(`../texts/${wanted}.js`).then((module) => module.default);
    requested.set(wanted, found);
  }
  return found;
}

let current = await languageOf(document.documentElement.lang);

/** The language of the texts and numbers that are made now. */
export function language() {
  return current;
}

/**
 * Calls `show`, whose texts are in `other`.
 * @template T
 * @param {Language} other @param {() => T} show
 */
export function inLanguage(other, show) {
  const before = current;
  current = other;
  try {
    return show();
  } finally {
    current = before;
  }
}

/** @type {Map<string, Intl.NumberFormat | Intl.PluralRules>} */
const formats = new Map();

/**
 * Returns an object of `Intl` for the current language. They are kept, because each costs a tenth
 * of a millisecond and the texts of many drops change at once.
 * @template {Intl.NumberFormat | Intl.PluralRules} T
 * @param {string} purpose @param {(tag: string) => T} make
 */
export function formatOf(purpose, make) {
  const name = `${current.numbers} ${purpose}`;
  let found = /** @type {T | undefined} */ (formats.get(name));
  if (!found) {
    found = make(current.numbers);
    formats.set(name, found);
  }
  return found;
}

/** @param {number} number */
export function count(number) {
  return formatOf("count", (tag) => new Intl.NumberFormat(tag)).format(number);
}

/** The form of a message for `count`. @param {Message} message @param {Values} values */
function formOf(message, values) {
  if (typeof message === "string") return message;
  const type = message.type === "ordinal" ? "ordinal" : "cardinal";
  const rules = formatOf(type, (tag) => new Intl.PluralRules(tag, { type }));
  return message[rules.select(Number(values.count))] ?? message.other ?? "";
}

/**
 * Returns the text of a key; the key itself if there is none.
 * @param {string} key @param {Values} [values]
 */
export function text(key, values = {}) {
  return formOf(current.messages[key] ?? key, values).replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    return value === undefined ? whole : typeof value === "number" ? count(value) : value;
  });
}

/** Returns whether there is a text of this key. @param {string} key */
export function hasText(key) {
  return key in current.messages;
}

/**
 * As `text`, with elements among the values.
 * @param {string} key @param {Record<string, string | number | Node>} values
 * @returns {(string | Node)[]}
 */
export function rich(key, values) {
  const plain = Object.entries(values).filter(([, value]) => !(value instanceof Node));
  const filled = text(key, /** @type {Values} */ (Object.fromEntries(plain)));
  return filled.split(/(\{\w+\})/).map((part) => {
    const value = values[part.slice(1, -1)];
    return part.startsWith("{") && value instanceof Node ? value : part;
  });
}

/**
 * Returns an object whose members are the texts of keys, each in the language of the moment.
 * @template {string} K
 * @param {Record<K, string>} keys
 * @returns {Readonly<Record<K, string>>}
 */
export function texts(keys) {
  const made = {};
  for (const [name, key] of Object.entries(keys))
    Object.defineProperty(made, name, {
      enumerable: true,
      get: () => text(/** @type {string} */ (key)),
    });
  return /** @type {Record<K, string>} */ (made);
}
