// The title of the page, with what a buyer who looks at another one should know in front of it.

let [title, news] = [document.title, ""];

/** @param {string} words */
export function setTitle(words) {
  title = words;
  show();
}

/** @param {string} words empty: nothing new */
export function setNews(words) {
  news = words;
  show();
}

function show() {
  const shown = news ? `${news} · ${title}` : title;
  if (document.title !== shown) document.title = shown;
}
