// A shop with many drops: the requests, elements and streams of a page do not grow with it. Counts
// only, no timing.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import {
  BASE,
  api,
  card,
  close,
  context,
  createDrop,
  edit,
  eventually,
  expectText,
  launch,
  open,
  openDashboard,
  openLive,
  scheduleDrop,
} from "./lib.mjs";

/** Enough for several pages, and for more cards than are active at a time. */
const MANY = 130;
const PAGE = 24;
const MOST_AWAKE = 100;
const MOST_BYTES = 100_000;

/** The common prefix of the names of this run's drops. */
const SERIES = `Tile ${randomUUID().slice(0, 4)}`;

/** @type {{id: string, name: string}[]} */
const drops = [];

before(async () => {
  await launch();
  for (let number = 0; number < MANY; number += 1)
    drops.unshift(await scheduleDrop({ name: `${SERIES} ${String(number).padStart(3, "0")}` }));
});
after(close);

/** Records the requests of a page to the API, and the bytes received. */
async function record(page) {
  const seen = { requests: [], bytes: 0 };
  page.on(
    "request",
    (request) =>
      request.url().startsWith(`${BASE}/v1/`) &&
      seen.requests.push(request.url().slice(BASE.length)),
  );
  page.on("response", async (response) => {
    const path = response.url().slice(BASE.length);
    if (path.startsWith("/v1/") && !path.startsWith("/v1/stream"))
      seen.bytes += (await response.body().catch(() => "")).length;
  });
  return seen;
}

const ids = (page) =>
  page.locator("drop-card").evaluateAll((cards) => cards.map((card) => card.dataset.dropId));
const streamOf = (seen) =>
  new URL(seen.requests.filter((path) => path.startsWith("/v1/stream")).at(-1), BASE).searchParams;

test("the shop requests one page, follows the shown drops, and sends no request per card", async (t) => {
  const page = await open(t, "about:blank");
  const seen = await record(page);
  await page.goto(BASE);
  await page.locator('connection-state[data-state="live"]').waitFor();
  assert.deepEqual(
    await ids(page),
    drops.slice(0, PAGE).map(({ id }) => id),
    "the newest drops on sale",
  );
  const lists = seen.requests.filter((path) => path.startsWith("/v1/drops"));
  assert.deepEqual(lists.map((path) => new URL(path, BASE).searchParams.get("status")).sort(), [
    "live",
    "paused",
    "scheduled",
    "sold_out",
  ]);
  assert.equal(seen.requests.filter((path) => path.startsWith("/v1/stream")).length, 1);
  assert.deepEqual(
    seen.requests.filter((path) => /^\/v1\/drops\/[^?]/.test(path)),
    [],
  );
  const stream = streamOf(seen);
  assert.deepEqual(
    [stream.get("drops").split(",").sort(), stream.get("new")],
    [(await ids(page)).sort(), "true"],
  );
  assert.ok(seen.bytes < MOST_BYTES, `${seen.bytes} bytes`);
  const nodes = await page.evaluate(() => document.querySelectorAll("*").length);
  assert.ok(nodes < 60 * PAGE, `${nodes} elements`);
});

test("further pages are shown on request, by keyboard as well, once and in order", async (t) => {
  const page = await openLive(t, "/");
  const more = page.getByRole("button", { name: "Show more drops" });
  await more.focus();
  await page.keyboard.press("Enter");
  await eventually("there are two pages", async () => (await ids(page)).length === 2 * PAGE);
  assert.deepEqual(
    await ids(page),
    drops.slice(0, 2 * PAGE).map(({ id }) => id),
  );
  const focused = await page.evaluate(
    () => document.activeElement?.closest("drop-card")?.dataset.dropId,
  );
  assert.equal(focused, drops[PAGE].id, "the focus is on the first new card");
  await expectText(page.locator("#shown"), `${2 * PAGE} drops shown.`);
  let shown = 2 * PAGE;
  while (await more.isVisible()) {
    await more.click();
    await eventually(
      "there is another page",
      async () => (await ids(page)).length > shown || !(await more.isVisible()),
    );
    shown = (await ids(page)).length;
  }
  const all = await ids(page);
  assert.deepEqual(
    all.slice(0, MANY),
    drops.map(({ id }) => id),
  );
  assert.equal(new Set(all).size, all.length);
  const listed = [];
  for (const status of ["live", "scheduled", "sold_out"])
    listed.push(...(await api("GET", `/v1/drops?status=${status}&limit=100`)).data);
  assert.ok(listed.every(({ id }) => all.includes(id)));
});

test("only cards near the viewport are active, and a card that comes near is up to date", async (t) => {
  const page = await open(t, "about:blank");
  const seen = await record(page);
  await page.goto(BASE);
  const more = page.getByRole("button", { name: "Show more drops" });
  for (let pages = 2; pages <= 5; pages += 1) {
    await more.click();
    await eventually(
      "there is another page",
      async () => (await ids(page)).length === pages * PAGE,
    );
  }
  await eventually(
    "the maximum of cards is active",
    async () => (await page.locator("drop-card:not([data-asleep])").count()) === MOST_AWAKE,
  );
  await eventually(
    "the active cards are followed",
    () => streamOf(seen).get("drops").split(",").length === MOST_AWAKE,
  );
  await page.evaluate(() => scrollTo(0, 0));
  const asleep = page.locator("drop-card[data-asleep]").last();
  await asleep.waitFor({ state: "attached" });
  const id = await asleep.getAttribute("data-drop-id");
  assert.equal(await asleep.getByRole("button").count(), 0, "an inactive card has no buttons");
  await api("POST", `/v1/drops/${id}/holds`, { buyer_id: "another" });
  const woken = card(page, { id });
  await woken.scrollIntoViewIfNeeded();
  await expectText(woken.locator(".units"), "4 left of 5 · 1 held");
  await woken.getByRole("button", { name: "Hold it" }).click();
  await woken.getByRole("button", { name: "Release" }).click();
  await expectText(woken.locator(".outcome"), "Released.");
  assert.ok((await page.locator("drop-card:not([data-asleep])").count()) <= MOST_AWAKE + 1);
});

test("a new drop appears first, and a changed drop of a later page does not appear", async (t) => {
  const page = await openLive(t, "/");
  const far = drops[MANY - 1];
  await edit(far, { name: "Far down" });
  const fresh = await createDrop();
  await card(page, fresh).waitFor();
  assert.equal((await ids(page))[0], fresh.id);
  assert.equal(await card(page, far).count(), 0);
  // The new drop is followed from then on.
  await api("POST", `/v1/drops/${fresh.id}/holds`, { buyer_id: "another" });
  await expectText(card(page, fresh).locator(".units"), "4 left of 5 · 1 held");
});

test("a drop that is scheduled between the list and the stream is not missed", async (t) => {
  const page = await open(t, "about:blank");
  let fresh;
  await page.route("**/v1/stream?*", async (route) => {
    fresh ??= await createDrop();
    return route.continue();
  });
  await page.goto(BASE);
  await eventually(
    "the new drop is shown",
    async () => fresh && (await card(page, fresh).count()) === 1,
  );
});

test("the number of automatically added drops is limited", async (t) => {
  const page = await openLive(t, "/");
  const fresh = [];
  for (let number = 0; number <= PAGE; number += 1) fresh.push(await createDrop());
  await expectText(page.locator("toast-list"), "More new drops are available.");
  assert.equal((await ids(page)).length, 2 * PAGE);
  await page.getByRole("link", { name: "Show them" }).click();
  await card(page, fresh[PAGE]).waitFor();
  assert.equal((await ids(page)).length, PAGE);
});

test("sales of all cards send no request", async (t) => {
  const page = await openLive(t, "/");
  const seen = await record(page);
  const shown = drops.slice(0, 12);
  await Promise.all(
    shown.map(async ({ id }) => {
      const hold = await api("POST", `/v1/drops/${id}/holds`, {
        buyer_id: "ada",
        display_name: "Ada",
      });
      await api("POST", `/v1/holds/${hold.id}/purchase`);
    }),
  );
  for (const drop of shown) await expectText(card(page, drop).locator(".units"), /[34] left of 5$/);
  assert.deepEqual(
    seen.requests.filter((path) => path.startsWith("/v1/drops")),
    [],
  );
  await page.reload();
  for (const drop of shown) await card(page, drop).locator(".units").waitFor();
  const again = seen.requests.filter((path) => path.startsWith("/v1/drops"));
  assert.ok(
    again.every((path) => path.startsWith("/v1/drops?status=")),
    again.join(),
  );
  assert.ok(!again.some((path) => path.includes("expand")), again.join());
});

test("the tabs of a browser request exactly the drops that they show", async (t) => {
  const within = await context(t);
  const streams = [];
  within.on(
    "request",
    (request) =>
      request.url().includes("/v1/stream") && streams.push(new URL(request.url()).searchParams),
  );
  const far = drops[MANY - 1];
  const own = await openLive(t, `/drops/${far.id}`, { within });
  const shop = await openLive(t, "/", { within });
  await eventually("both are followed", () => streams.at(-1)?.get("new") === "true");
  assert.deepEqual(
    streams.at(-1).get("drops").split(",").sort(),
    [...(await ids(shop)), far.id].sort(),
  );
  await api("POST", `/v1/drops/${far.id}/holds`, { buyer_id: "another" });
  await expectText(own.locator("stock-bar .units"), "1 held");
  const fresh = await createDrop();
  await card(shop, fresh).waitFor();
  assert.equal(await card(shop, far).count(), 0);
});

test("the dashboard requests one page of drops, and paginates and searches on the server", async (t) => {
  const page = await openDashboard(t);
  const seen = await record(page);
  await page.locator("#window").selectOption("24h");
  const rows = page.locator("drop-table tbody tr");
  const names = () => rows.locator("th").allInnerTexts();
  const shows = (description, expected) =>
    eventually(description, async () => (await names()).join() === expected.join());
  const all = (await api("GET", "/v1/admin/metrics?limit=100")).drops.map(({ name }) => name);
  await shows("the first page", all.slice(0, 50));
  assert.ok((await page.locator("#chart-drop option").count()) <= 51);
  await page.getByRole("button", { name: "Older drops" }).click();
  await shows("the second page", all.slice(50, 100));
  await page.getByRole("button", { name: "Newer drops" }).click();
  await shows("the first page", all.slice(0, 50));
  await page.getByLabel("Search by name").fill(`${SERIES.toUpperCase()} 01`);
  await shows(
    "the search results",
    drops.map(({ name }) => name).filter((name) => name.startsWith(`${SERIES} 01`)),
  );
  await page.getByLabel("Show").selectOption({ label: "Upcoming" });
  await expectText(page.locator("drop-table"), "No matching drops.");
  await page.getByLabel("Show").selectOption({ label: "On sale" });
  await page.getByLabel("Search by name").fill("");
  await shows(
    "the first page of drops on sale",
    drops.slice(0, 50).map(({ name }) => name),
  );
  // The stream reports changes of listed drops, and the event list names other drops as well.
  await api("POST", `/v1/drops/${drops[0].id}/holds`, { buyer_id: "another" });
  await edit(drops[MANY - 2], { name: "Not on this page" });
  await expectText(page.locator("event-log"), "Not on this page");
  assert.deepEqual(
    seen.requests.filter((path) => /^\/v1\/drops\/[^?]/.test(path)),
    [],
  );
  for (const path of seen.requests.filter((path) => path.startsWith("/v1/stream"))) {
    assert.ok((new URL(path, BASE).searchParams.get("drops") ?? "").split(",").length <= 50, path);
  }
  const refreshes = seen.requests.filter((path) => path.startsWith("/v1/admin/metrics"));
  assert.ok(refreshes.every((path) => path.includes("limit=50")));
  assert.ok(
    seen.bytes / refreshes.length < 40_000,
    `${seen.bytes} bytes in ${refreshes.length} refreshes`,
  );
});
