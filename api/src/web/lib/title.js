// The page title, prefixed with news for a buyer in another tab.

/** The name of the shop. */
const site = document.querySelector('meta[name="application-name"]')?.getAttribute("content") ?? "";
let [title, news] = [document.title, ""];

/** Sets the title; the name of the shop follows it. @param {string} words */
export function setTitle(words) {
  title = `${words} · ${site}`;
  show();
}

/** @param {string} words empty: no news */
export function setNews(words) {
  news = words;
  show();
}

function show() {
  const shown = news ? `${news} · ${title}` : title;
  if (document.title !== shown) document.title = shown;
}
