// The sign-in of this browser's buyer: a token of the shop (a JWT), on a server that requires one.
//
// A page gets the token in its fragment, #token=…, which browsers send to no server, and removes it
// from the address before anything else runs. Every request of the shop's pages to this server
// carries it; no other request does. A token that has expired or is refused is forgotten, and the
// page keeps its content: the buyer's id is kept, so the holds, orders and waitlist entries of this
// browser are there again after the next sign-in.
//
// A message (postMessage) can hand over no token: these pages cannot be framed, and a page of
// another site that opens one has no reference to it (COOP), by the headers of every page.

import { Problem, authorizeWith } from "./api.js";
import { isKnown, now } from "./clock.js";
import { claimsOf } from "./jwt.js";
import { hasChanged, recall, remember } from "./storage.js";

const NAME = "holdfast.session";
/** The parameter of a page's fragment that hands a token over. */
const PARAMETER = "token=";
/** The longest delay of a timer. */
const MAX_DELAY_MS = 2 ** 31 - 1;

/** @typedef {{token: string, buyer: string}} Stored `token`: empty after its end */

/** @param {string} name */
function setting(name) {
  return document.querySelector(`meta[name="${name}"]`)?.getAttribute("content") ?? "";
}

/** Whether the server requires a token of every buyer. */
export const isTokenRequired = setting("holdfast-token") === "required";

/** Dispatches `change` when the buyer has signed in or out, in any tab. */
class Session extends EventTarget {
  /** @type {Stored} */
  #stored = { token: "", buyer: "" };
  /** The token of another buyer that waits for a decision. @type {Stored | undefined} */
  #offered;
  #timer = 0;
  #isStarted = false;

  constructor() {
    super();
    const token = takeFromAddress();
    if (!isTokenRequired) return;
    this.#stored = read();
    this.#accept(token);
    this.#isStarted = true;
    authorizeWith({ token: () => this.#stored.token, refused: (refused) => this.#end(refused) });
    addEventListener("hashchange", () => this.#accept(takeFromAddress()));
    addEventListener("storage", (event) => hasChanged(event, NAME) && this.#reload());
    // A page that is restored from the back/forward cache has missed the changes of other tabs.
    addEventListener("pageshow", ({ persisted }) => persisted && this.#reload());
    this.#watch();
  }

  /** Whether requests of a buyer can succeed: there is a token, or none is required. */
  get isOpen() {
    return !isTokenRequired || this.#stored.token !== "";
  }

  /** The present buyer, also after the end of the token; empty for a guest. */
  get buyer() {
    return this.#stored.buyer;
  }

  /** The buyer whose token waits for a decision of this one; empty if there is none. */
  get offeredBuyer() {
    return this.#offered?.buyer ?? "";
  }

  /** Resolves when requests of a buyer can succeed. @returns {Promise<void>} */
  async whenOpen() {
    while (!this.isOpen)
      await new Promise((resolve) => this.addEventListener("change", resolve, { once: true }));
  }

  /** Forgets the buyer in this browser. The token itself is valid until its end. */
  signOut() {
    this.#store({ token: "", buyer: "" });
    location.reload();
  }

  /** Decides on the token of another buyer. @param {boolean} isAccepted */
  decide(isAccepted) {
    const offered = this.#offered;
    this.#offered = undefined;
    if (!offered || !isAccepted) return this.#changed();
    this.#store(offered);
    return location.reload();
  }

  /**
   * Takes a token over. A link of a stranger must not make a signed-in buyer act for another one:
   * that needs a decision of the buyer.
   * @param {string} token
   */
  #accept(token) {
    const buyer = token ? (claimsOf(token)?.buyer ?? "") : "";
    if (!buyer) return;
    const { token: present, buyer: before } = this.#stored;
    const isSame = comparable(buyer) === comparable(before);
    if (present && !isOver(present) && !isSame) {
      this.#offered = { token, buyer };
      return this.#changed();
    }
    this.#store({ token, buyer });
    // The other modules have read the stored data of the buyer before.
    if (!isSame && this.#isStarted) return location.reload();
    this.#watch();
    return this.#changed();
  }

  /** Forgets a token that the server refused, or that has expired. @param {string} token */
  #end(token) {
    // Another one may have arrived since the request was sent.
    if (!token || this.#stored.token !== token) return;
    this.#store({ token: "", buyer: this.#stored.buyer });
    this.#changed();
  }

  /** Reads the session after a change in another tab. */
  #reload() {
    const { token, buyer } = this.#stored;
    this.#stored = read();
    if (comparable(this.#stored.buyer) !== comparable(buyer)) return location.reload();
    if (this.#stored.token === token) return undefined;
    this.#watch();
    return this.#changed();
  }

  /** Ends the token at its `exp`, by the server's clock. */
  #watch() {
    clearTimeout(this.#timer);
    const { token } = this.#stored;
    const expiresAt = token ? claimsOf(token)?.expiresAt : undefined;
    if (expiresAt === undefined) return;
    const left = expiresAt - now();
    // A wrong clock of this machine must not end a token: the server's is known soon.
    if (left <= 0 && isKnown()) return this.#end(token);
    const delay = Math.min(Math.max(left, 1000), MAX_DELAY_MS);
    this.#timer = window.setTimeout(() => this.#watch(), delay);
  }

  /** @param {Stored} stored */
  #store(stored) {
    this.#stored = stored;
    remember(NAME, JSON.stringify(stored));
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

/** @returns {Stored} */
function read() {
  try {
    const { token, buyer } = JSON.parse(recall(NAME) ?? "");
    if (typeof token === "string" && typeof buyer === "string") return { token, buyer };
  } catch {
    // Nothing is stored, or by something else.
  }
  return { token: "", buyer: "" };
}

/** Takes the token out of the page's address. Returns it; empty if there is none. */
function takeFromAddress() {
  const parts = location.hash.slice(1).split("&");
  const others = parts.filter((part) => !part.startsWith(PARAMETER));
  if (others.length === parts.length) return "";
  const address = new URL(location.href);
  address.hash = others.join("&");
  history.replaceState(history.state, "", address);
  return parts.find((part) => part.startsWith(PARAMETER))?.slice(PARAMETER.length) ?? "";
}

/** Returns whether a token has expired by the time that this page knows. @param {string} token */
function isOver(token) {
  return (claimsOf(token)?.expiresAt ?? Infinity) <= now();
}

/** The form in which the server compares the `sub` of tokens. @param {string} buyer */
function comparable(buyer) {
  return buyer.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase());
}

export const session = new Session();

/**
 * The name under which the present buyer's own data is stored: two buyers of one browser do not see
 * each other's.
 * @param {string} name
 */
export function ofThisBuyer(name) {
  return session.buyer ? `${name}:${comparable(session.buyer)}` : name;
}

/** The link to the shop's sign-in page, which returns to this page; empty if there is none. */
export function signInHref() {
  const url = setting("holdfast-sign-in");
  if (!url) return "";
  const address = new URL(url, location.origin);
  const { origin, pathname, search } = location;
  address.searchParams.set("return_to", origin + pathname + search);
  return address.href;
}

/** Returns whether a request was refused because it needs a token. @param {unknown} problem */
export function isSignedOut(problem) {
  return problem instanceof Problem && problem.status === 401;
}
