// The notifications of this buyer in the navigation, live. The number counts those that came since
// the list was last opened.

import { h, mark, write } from "../lib/dom.js";
import { isolate, nameOrUnnamed } from "../lib/foreign.js";
import { count, day, money } from "../lib/format.js";
import { hasText, text } from "../lib/text.js";
import { recall, remember } from "../lib/buyer.js";
import { Notifications } from "../lib/notifications.js";
import { ofThisBuyer } from "../lib/token.js";
import { PushChoice } from "./push-choice.js";
import { toast } from "./toast-list.js";

/** @typedef {import("../lib/notifications.js").Notification} Notification */

/** The position up to which notifications were seen. */
const SEEN = ofThisBuyer("holdfast.notifications.seen");

export class NotificationBell extends HTMLElement {
  #notifications = new Notifications();
  #unread = h("span", { class: "unread", hidden: true });
  #list = h("ul", { class: "plain" });
  #none = h("p", { class: "quiet-words" }, text("notifications.none"));
  #box = h(
    "details",
    { ontoggle: () => this.#opened() },
    h("summary", {}, h("span", { class: "words" }, text("notifications.title")), this.#unread),
    h("div", { class: "box" }, this.#none, this.#list, new PushChoice()),
  );
  /** Undefined before the first list. @type {Set<string> | undefined} */
  #known;

  connectedCallback() {
    if (this.firstChild) return;
    this.append(this.#box);
    this.#notifications.addEventListener("change", () => this.#show());
    void this.#notifications.follow();
  }

  #show() {
    const { all } = this.#notifications;
    const known = this.#known;
    if (known) all.filter(({ id }) => !known.has(id)).forEach((one) => toast(words(one)));
    this.#known = new Set(all.map(({ id }) => id));
    this.#list.replaceChildren(...all.map(row));
    this.#none.hidden = all.length > 0;
    this.#opened();
  }

  #opened() {
    const { all } = this.#notifications;
    const newest = all[0]?.position ?? 0;
    if (this.#box.open && newest > 0) remember(SEEN, String(newest));
    const seen = Number(recall(SEEN)) || 0;
    const unread = all.filter(({ position }) => position > seen).length;
    write(this.#unread, unread > 0 ? count(unread) : "");
    mark(
      this.#unread,
      "aria-label",
      unread > 0 ? text("notifications.new", { count: unread }) : null,
    );
    this.#unread.hidden = unread === 0;
  }
}
customElements.define("notification-bell", NotificationBell);

/** @param {Notification} notification */
function row(notification) {
  const { drop_id, order_id, created_at } = notification;
  const time = h("time", { datetime: created_at }, day(created_at));
  const text = words(notification);
  // Where buyers have no tokens, the server does not return the ids of orders.
  if (!order_id && !drop_id) return h("li", {}, h("span", {}, text), time);
  const href = order_id ? `/orders/${order_id}` : `/drops/${drop_id}`;
  return h("li", {}, h("a", { href }, text), time);
}

/** Describes a notification. @param {Notification} notification */
function words({ type, drop_name, data }) {
  const name = isolate(nameOrUnnamed(drop_name ?? ""));
  if (type === "stock.low" && data.available !== undefined)
    return text("notice.stock.left", { name, count: data.available });
  const key = `notice.${type}`;
  // A newer server may send other types.
  if (!hasText(key)) return `${name}: ${type}`;
  const amount = data.amount ? money(data.amount) : "";
  return text(key, { name, count: data.quantity ?? 0, amount });
}
