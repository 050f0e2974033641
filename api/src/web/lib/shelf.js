// A list of the catalogue, read page by page.

import { Problem, call } from "./api.js";
import { pathHere } from "./base.js";
import { byId, h, write } from "./dom.js";
import { worded } from "./refusals.js";
import { text } from "./text.js";

/**
 * Shows the first page, and the next ones when the button `#more` is pressed.
 * @template {{id: string}} T
 * @param {HTMLElement} list
 * @param {string} path of the list, with a query
 * @param {(row: T) => HTMLElement} item
 */
export async function showShelf(list, path, item) {
  const more = /** @type {HTMLButtonElement} */ (byId("more"));
  let after = "";
  const next = async () => {
    more.disabled = true;
    try {
      const { data, has_more } = await call(`${path}${after}`);
      list.append(...data.map(item));
      byId("empty").hidden = list.childElementCount > 0;
      more.hidden = !has_more;
      after = has_more ? `&starting_after=${encodeURIComponent(data.at(-1).id)}` : "";
      write(byId("failed"), "");
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      write(byId("failed"), text("shelf.failed", { reason: worded(problem) }));
      more.hidden = false;
    } finally {
      more.disabled = false;
    }
  };
  more.addEventListener("click", () => void next());
  await next();
}

/** The picture of a creator or product; null without one. @param {string | null} url */
export function picture(url) {
  if (!url) return null;
  const image = h("img", { alt: "", loading: "lazy", referrerpolicy: "no-referrer", src: url });
  image.addEventListener("error", () => image.remove());
  return image;
}

/** The id in the path of a page. */
export function idOfPage() {
  const segment = pathHere().split("/")[2] ?? "";
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
