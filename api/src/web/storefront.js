// The list of drops, fed by the stream alone: state first, then every change. One stream per page.

/**
 * @typedef {{total: number, available: number, held: number, sold: number}} Stock
 * @typedef {{id: string, name: string, description: string | null, image_url: string | null,
 *   price: {amount: number, currency: string}, status: string, starts_at: string, ends_at: string | null,
 *   stock: Stock, created_at: string, server_time: string}} Drop
 */

const STATUS_IN_WORDS = {
  scheduled: "Coming up", live: "Live", sold_out: "Nothing available right now", ended: "Over", cancelled: "Called off",
};
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 30_000;

/** @type {Map<string, {drop: Drop, card: HTMLElement}>} */
const shown = new Map();
/** The server's clock minus this machine's, in milliseconds. */
let clockOffset = 0;
let lastEventId = "";
let pause = FIRST_PAUSE_MS;

/** @template {HTMLElement} T @param {string} selector @param {ParentNode} [within] @returns {T} */
function find(selector, within = document) {
  const found = within.querySelector(selector);
  if (!found) throw new Error(`the page has no ${selector}`);
  return /** @type {T} */ (found);
}

/** @param {{amount: number, currency: string}} price */
function money({ amount, currency }) {
  const format = new Intl.NumberFormat(undefined, { style: "currency", currency });
  const decimals = format.resolvedOptions().maximumFractionDigits ?? 2;
  return format.format(amount / 10 ** decimals);
}

/** @param {number} milliseconds */
function duration(milliseconds) {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  const clock = `${two(hours)}:${two(minutes)}:${two(seconds % 60)}`;
  return days > 0 ? `${days} d ${clock}` : clock;
}

/** @param {Drop} drop */
function when(drop) {
  const now = Date.now() + clockOffset;
  if (drop.status === "scheduled") return `Starts in ${duration(Date.parse(drop.starts_at) - now)}`;
  if (drop.ends_at && (drop.status === "live" || drop.status === "sold_out")) {
    return `Ends in ${duration(Date.parse(drop.ends_at) - now)}`;
  }
  return "";
}

/** @param {HTMLElement} card @param {Drop} drop */
function fill(card, drop) {
  const { total, available, held, sold } = drop.stock;
  card.dataset.status = drop.status;
  card.dataset.dropId = drop.id;
  find(".status", card).textContent = STATUS_IN_WORDS[/** @type {keyof typeof STATUS_IN_WORDS} */ (drop.status)] ?? drop.status;
  find(".name", card).textContent = drop.name;
  find(".description", card).textContent = drop.description ?? "";
  find(".price", card).textContent = money(drop.price);
  const units = `${available} of ${total} available, ${held} held, ${sold} sold`;
  find(".units", card).textContent = units;
  find(".bar", card).setAttribute("aria-label", units);
  find(".sold", card).style.width = `${(100 * sold) / Math.max(1, total)}%`;
  find(".held", card).style.width = `${(100 * held) / Math.max(1, total)}%`;
  find(".when", card).textContent = when(drop);
  /** @type {HTMLImageElement} */
  const picture = find(".picture", card);
  picture.hidden = !drop.image_url;
  if (drop.image_url && picture.src !== drop.image_url) picture.src = drop.image_url;
}

/** @param {Drop} drop */
function show(drop) {
  clockOffset = Date.parse(drop.server_time) - Date.now();
  let card = shown.get(drop.id)?.card;
  if (!card) {
    /** @type {HTMLTemplateElement} */
    const template = find("#drop");
    card = find(".drop", /** @type {DocumentFragment} */ (template.content.cloneNode(true)));
    place(card, drop);
  }
  shown.set(drop.id, { drop, card });
  fill(card, drop);
  find("#empty").hidden = true;
}

/** Newest first; a card keeps its place while its numbers move. @param {HTMLElement} card @param {Drop} drop */
function place(card, drop) {
  const list = find("#drops");
  const older = [...list.children].find((other) => {
    const known = shown.get(/** @type {HTMLElement} */ (other).dataset.dropId ?? "");
    return known !== undefined && known.drop.created_at < drop.created_at;
  });
  list.insertBefore(card, older ?? null);
}

/** @param {"live" | "lost" | "connecting"} state @param {string} words */
function tell(state, words) {
  const line = find("#connection");
  line.dataset.state = state;
  if (line.textContent !== words) line.textContent = words;
}

function connect() {
  const query = lastEventId ? `?last_event_id=${encodeURIComponent(lastEventId)}` : "";
  const source = new EventSource(`/v1/stream${query}`);
  source.addEventListener("open", () => {
    pause = FIRST_PAUSE_MS;
    tell("live", "Live");
    if (shown.size === 0) setTimeout(() => { find("#empty").hidden = shown.size > 0; }, 500);
  });
  source.addEventListener("drop", (event) => {
    lastEventId = event.lastEventId;
    show(JSON.parse(event.data));
  });
  source.addEventListener("error", () => {
    // A refused stream (503) is closed for good by the browser, so this page always opens a new one itself.
    source.close();
    const since = new Date().toLocaleTimeString();
    tell("lost", `Not connected since ${since}; the numbers below may be old. Trying again…`);
    setTimeout(connect, pause * (0.5 + Math.random()));
    pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
  });
}

setInterval(() => {
  for (const { drop, card } of shown.values()) find(".when", card).textContent = when(drop);
}, 1000);
connect();
