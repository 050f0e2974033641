// The page title, prefixed with news for a buyer in another tab.

let [title, news] = [document.title, ""];

/** @param {string} words */
export function setTitle(words) {
  title = words;
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
