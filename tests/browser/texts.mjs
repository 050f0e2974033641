// Finds texts for people that are not in the catalogues of `web/texts/`, in the scripts and
// templates of the shop. `npm run texts` prints each with its file and line, and what to do.
//
// A text is a string of two words or more, or one word that begins with a capital letter, in a
// script that a page of the shop imports. `isForMachines` recognises strings that people never read
// by the code around them. ALLOWED has the others, each with its reason.

import { readFileSync, readdirSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const WEB = fileURLToPath(new URL("../../api/src/web/", import.meta.url));
/** The scripts of the shop's pages, and of the element for other sites. */
const ENTRIES = [
  "pages/cart.js",
  "pages/creator.js",
  "pages/creators.js",
  "pages/drop.js",
  "pages/order.js",
  "pages/product.js",
  "pages/storefront.js",
  "elements/holdfast-drop.js",
];
const TEMPLATES = [
  "absent.html",
  "cart.html",
  "creator.html",
  "creators.html",
  "drop.html",
  "frames/first.html",
  "frames/page.html",
  "frames/shop.html",
  "index.html",
  "order.html",
  "product.html",
];
/** Texts that are no texts of the shop. */
const ALLOWED = new Map([
  ["The server is not responding.", "lib/api.js: its code `unreachable` has a text"],
  ["The server returned status ", "lib/api.js: for a response that is no problem of this server"],
  ["Content-Type", "the name of a header"],
  ["Idempotency-Key", "the name of a header"],
  ["Bearer ", "a scheme of authorization"],
  ["text/event-stream, application/problem+json", "types that a stream may have"],
  ["Enter", "the name of a key"],
  ["Notification", "push.js: the name of an interface"],
  ["required", "frames/shop.html: the value of a setting"],
  ["outcome ", "hold-panel.js: the name of a class"],
  ["holdfast ", "embedded.js: a name in local storage"],
  ["pointer ", "press.js: the name of a pointer that is down"],
]);
/** Names of attributes and properties whose values people do not read. */
const MACHINE_ATTRIBUTES = new Set([
  "class",
  "id",
  "for",
  "role",
  "type",
  "href",
  "src",
  "rel",
  "part",
  "autocomplete",
  "inputmode",
  "loading",
  "decoding",
  "referrerpolicy",
  "rootMargin",
  "d",
  "viewBox",
  "transform",
  "preserveAspectRatio",
  "fill",
  "stroke",
]);
/** Functions whose string arguments people do not read. */
const MACHINE_CALLS = new Set([
  "Error",
  "text",
  "hasText",
  "querySelector",
  "querySelectorAll",
  "closest",
  "matches",
  "mark",
  "setAttribute",
  "getAttribute",
  "addEventListener",
  "formatOf",
  "define",
]);

/** Constants with selectors, style and codes. */
const MACHINE_LISTS = new Set(["STYLE", "ODD", "UNCOVERED", "CONTROLS"]);

/** Two words, a word with an end of its sentence, or a word with a capital letter. */
const isText = (words) =>
  /\p{L}{2}[,.…:]?\s+\p{L}|^\s+\p{L}{2}|\p{L}{2}\s+$/u.test(words) ||
  /^\P{L}*\p{Lu}\p{Ll}+\P{L}*$/u.test(words);

/** Returns the modules that the entries import, directly or not. */
function modules() {
  const found = new Set(ENTRIES);
  for (const name of found) {
    const code = readFileSync(join(WEB, name), "utf8");
    for (const [, path] of code.matchAll(/(?:from|^import|\nimport) "(\.[^"]+)"/g))
      found.add(normalize(join(dirname(name), path)));
  }
  return [...found].sort();
}

/** The name of the function that a call or `new` calls. */
function calleeOf({ expression }) {
  if (ts.isIdentifier(expression)) return expression.text;
  return ts.isPropertyAccessExpression(expression) ? expression.name.text : "";
}

/** Returns whether people never read a string, by where it is in the code. */
function isForMachines(node) {
  const { parent } = node;
  if (!parent) return false;
  if (ts.isImportDeclaration(parent) || ts.isExportDeclaration(parent)) return true;
  if (ts.isCaseClause(parent) || ts.isLiteralTypeNode(parent)) return true;
  if (ts.isElementAccessExpression(parent)) return true;
  if (ts.isBinaryExpression(parent) && /^[!=]==$/.test(parent.operatorToken.getText())) return true;
  if (ts.isPropertyAssignment(parent)) {
    const name = parent.name.text ?? "";
    if (parent.name === node) return true;
    if (MACHINE_ATTRIBUTES.has(name) || /^(data-|aria-(describedby|labelledby|hidden))/.test(name))
      return true;
  }
  if (ts.isCallExpression(parent) || ts.isNewExpression(parent)) {
    const callee = calleeOf(parent);
    const at = parent.arguments.indexOf(node);
    if (MACHINE_CALLS.has(callee)) return true;
    // The kind of a button, the name of an element.
    if (callee === "button" && at === 1) return true;
    if ((callee === "h" || callee === "svg") && at === 0) return true;
  }
  return false;
}

/** Yields the texts of a script with their positions. */
function* textsOfScript(name) {
  const code = readFileSync(join(WEB, name), "utf8");
  const file = ts.createSourceFile(name, code, ts.ScriptTarget.Latest, true, ts.ScriptKind.JS);
  const found = [];
  const visit = (node, isMachine) => {
    const isQuiet = isMachine || isForMachines(node);
    const isLiteral =
      ts.isStringLiteral(node) ||
      ts.isNoSubstitutionTemplateLiteral(node) ||
      ts.isTemplateHead(node) ||
      ts.isTemplateMiddle(node) ||
      ts.isTemplateTail(node);
    if (isLiteral && !isQuiet && isText(node.text)) found.push(node);
    const isList = ts.isVariableDeclaration(node) && MACHINE_LISTS.has(node.name.getText());
    const isWhole = isList || (ts.isTemplateExpression(node) && isQuiet) || isMachine === "list";
    ts.forEachChild(node, (child) =>
      visit(child, isList || isMachine === "list" ? "list" : isWhole),
    );
  };
  visit(file, false);
  for (const node of found)
    yield { words: node.text, line: file.getLineAndCharacterOfPosition(node.getStart()).line + 1 };
}

/** Yields the texts of a template with their positions. */
function* textsOfTemplate(name) {
  const whole = readFileSync(join(WEB, name), "utf8");
  const blank = (found) => found.replace(/[^\n]/g, " ");
  const html = whole.replace(/\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}|<!doctype html>/gs, blank);
  const spoken = /(?:aria-label|alt|placeholder|title|words|content)="([^"]*)"/g;
  const texts = [...html.matchAll(/>([^<]+)/g), ...html.matchAll(spoken)];
  for (const { 1: words, index } of texts) {
    const isViewport = words.includes("width=device-width") || words === "light dark";
    if (
      /\p{L}{2}/u.test(words) &&
      !isViewport &&
      words.trim() !== "noindex" &&
      !/prefers-/.test(words)
    )
      yield { words: words.trim(), line: whole.slice(0, index).split("\n").length };
  }
}

const faults = [];
const check = (name, texts) => {
  for (const { words, line } of texts) {
    if (ALLOWED.has(words)) continue;
    faults.push(`api/src/web/${name}:${line}: ${JSON.stringify(words)}`);
  }
};
for (const name of modules()) check(name, textsOfScript(name));
for (const name of TEMPLATES) check(name, textsOfTemplate(name));

// Every key in the code has a text, and every text has a key in the code.
const catalogue = JSON.parse(readFileSync(join(WEB, "texts/en.json"), "utf8"));
const keys = new Set(Object.keys(catalogue).filter((key) => !key.startsWith("@")));
const sources = [
  ...modules().map((name) => join(WEB, name)),
  ...TEMPLATES.map((name) => join(WEB, name)),
  join(WEB, "../pages/first_state.rs"),
].map((path) => readFileSync(path, "utf8"));
const code = sources.join("\n");
for (const [, key] of code.matchAll(/\b(?:text|rich|hasText)\(\s*"([^"]+)"/g))
  if (!keys.has(key)) faults.push(`the key ${key} has no text: add it to every file of web/texts/`);
/** Beginnings of keys that the code completes. */
const BUILT = [...code.matchAll(/`([a-z_.]+\.)\$\{/g)].map(([, start]) => start);
for (const key of keys) {
  const isUsed = code.includes(`"${key}"`) || BUILT.some((start) => key.startsWith(start));
  if (!isUsed) faults.push(`nothing uses the text ${key}: remove it from every file of web/texts/`);
}

// The plural categories are those of this Node's CLDR.
for (const file of readdirSync(join(WEB, "texts"))) {
  const tag = file.replace(/\.json$/, "");
  const { "@language": _, ...messages } = JSON.parse(
    readFileSync(join(WEB, "texts", file), "utf8"),
  );
  const wanted = new Intl.PluralRules(tag).resolvedOptions().pluralCategories.toSorted();
  for (const [key, forms] of Object.entries(messages)) {
    if (typeof forms === "string" || forms.type === "ordinal") continue;
    const has = Object.keys(forms).toSorted();
    if (has.join() !== wanted.join())
      faults.push(`${file}: ${key} has the forms ${has}; ${tag} needs ${wanted}`);
  }
}

if (faults.length > 0) {
  console.error(faults.join("\n"));
  console.error(
    "\nA text for people belongs into web/texts/: add a key to en.json, de.json and he.json, and use\n" +
      'text("KEY", { name: value }) in a script, {{ text("KEY") }} in a template. A string that people\n' +
      "never read goes into ALLOWED of tests/browser/texts.mjs, with its reason.",
  );
  process.exit(1);
}
