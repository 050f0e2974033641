// A shop of many drops: what a page asks for, builds and follows does not grow with it. Counts only, never times.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { BASE, api, card, close, context, createDrop, edit, eventually, launch, open, openDashboard, openLive, says, scheduleDrop } from "./lib.mjs";

/** Enough for several pages, and for more cards than are alive at a time. */
const MANY = 130;
const PAGE = 24;
const MOST_AWAKE = 100;
const MOST_BYTES = 100_000;

/** What the drops of this run are called. */
const SERIES = `Tile ${randomUUID().slice(0, 4)}`;

/** @type {{id: string, name: string}[]} */
const drops = [];

before(async () => {
  await launch();
  for (let number = 0; number < MANY; number += 1) drops.unshift(await scheduleDrop({ name: `${SERIES} ${String(number).padStart(3, "0")}` }));
});
after(async () => {
  for (const { id } of drops) await api("POST", `/v1/drops/${id}/cancel`);
  await close();
});

/** What a page asked of the API, and what came. */
async function record(page) {
  const seen = { requests: [], bytes: 0 };
  page.on("request", (request) => request.url().startsWith(`${BASE}/v1/`) && seen.requests.push(request.url().slice(BASE.length)));
  page.on("response", async (response) => {
    const path = response.url().slice(BASE.length);
    if (path.startsWith("/v1/") && !path.startsWith("/v1/stream")) seen.bytes += (await response.body().catch(() => "")).length;
  });
  return seen;
}

const ids = (page) => page.locator("drop-card").evaluateAll((cards) => cards.map((card) => card.dataset.dropId));
const streamOf = (seen) => new URL(seen.requests.filter((path) => path.startsWith("/v1/stream")).at(-1), BASE).searchParams;

test("the shop asks for one page, follows what it shows, and asks for nothing by the card", async (t) => {
  const page = await open(t, "about:blank");
  const seen = await record(page);
  await page.goto(BASE);
  await page.locator('connection-state[data-state="live"]').waitFor();
  assert.deepEqual(await ids(page), drops.slice(0, PAGE).map(({ id }) => id), "the newest of those that can be had");
  const lists = seen.requests.filter((path) => path.startsWith("/v1/drops"));
  assert.deepEqual(lists.map((path) => new URL(path, BASE).searchParams.get("status")).sort(), ["live", "scheduled", "sold_out"]);
  assert.equal(seen.requests.filter((path) => path.startsWith("/v1/stream")).length, 1);
  assert.deepEqual(seen.requests.filter((path) => /^\/v1\/drops\/[^?]/.test(path)), []);
  const stream = streamOf(seen);
  assert.deepEqual([stream.get("drops").split(",").sort(), stream.get("new")], [(await ids(page)).sort(), "true"]);
  assert.ok(seen.bytes < MOST_BYTES, `${seen.bytes} bytes`);
  const nodes = await page.evaluate(() => document.querySelectorAll("*").length);
  assert.ok(nodes < 60 * PAGE, `${nodes} elements`);
});

test("more drops come when they are asked for, by the keyboard too, each once and in order", async (t) => {
  const page = await openLive(t, "/");
  const more = page.getByRole("button", { name: "Show more drops" });
  await more.focus();
  await page.keyboard.press("Enter");
  await eventually("there are two pages", async () => (await ids(page)).length === 2 * PAGE);
  assert.deepEqual(await ids(page), drops.slice(0, 2 * PAGE).map(({ id }) => id));
  const focused = await page.evaluate(() => document.activeElement?.closest("drop-card")?.dataset.dropId);
  assert.equal(focused, drops[PAGE].id, "the focus is on the first of the new ones");
  await says(page.locator("#shown"), `${2 * PAGE} drops shown.`);
  let shown = 2 * PAGE;
  while (await more.isVisible()) {
    await more.click();
    await eventually("there is another page", async () => (await ids(page)).length > shown || !(await more.isVisible()));
    shown = (await ids(page)).length;
  }
  const all = await ids(page);
  assert.deepEqual(all.slice(0, MANY), drops.map(({ id }) => id));
  assert.equal(new Set(all).size, all.length);
  const listed = [];
  for (const status of ["live", "scheduled", "sold_out"]) listed.push(...(await api("GET", `/v1/drops?status=${status}&limit=100`)).data);
  assert.ok(listed.every(({ id }) => all.includes(id)));
});

test("of many cards those that are near are alive and followed; one that comes near is that of now", async (t) => {
  const page = await open(t, "about:blank");
  const seen = await record(page);
  await page.goto(BASE);
  const more = page.getByRole("button", { name: "Show more drops" });
  for (let pages = 2; pages <= 5; pages += 1) {
    await more.click();
    await eventually("there is another page", async () => (await ids(page)).length === pages * PAGE);
  }
  await eventually("the most are awake", async () => (await page.locator("drop-card:not([data-asleep])").count()) === MOST_AWAKE);
  await eventually("they are followed", () => streamOf(seen).get("drops").split(",").length === MOST_AWAKE);
  await page.evaluate(() => scrollTo(0, 0));
  const asleep = page.locator("drop-card[data-asleep]").last();
  await asleep.waitFor({ state: "attached" });
  const id = await asleep.getAttribute("data-drop-id");
  assert.equal(await asleep.getByRole("button").count(), 0, "nothing to press where nobody looks");
  await api("POST", `/v1/drops/${id}/holds`, { buyer_id: "somebody" });
  const woken = card(page, { id });
  await woken.scrollIntoViewIfNeeded();
  await says(woken.locator(".units"), "4 left of 5 · 1 held");
  await woken.getByRole("button", { name: "Hold it" }).click();
  await woken.getByRole("button", { name: "Release" }).click();
  await says(woken.locator(".outcome"), "Released.");
  assert.ok((await page.locator("drop-card:not([data-asleep])").count()) <= MOST_AWAKE + 1);
});

test("a new drop shows up by itself, in front, and a drop far down does not", async (t) => {
  const page = await openLive(t, "/");
  const far = drops[MANY - 1];
  await edit(far, { name: "Far down" });
  const fresh = await createDrop();
  await card(page, fresh).waitFor();
  assert.equal((await ids(page))[0], fresh.id);
  assert.equal(await card(page, far).count(), 0);
  // It is followed from then on.
  await api("POST", `/v1/drops/${fresh.id}/holds`, { buyer_id: "somebody" });
  await says(card(page, fresh).locator(".units"), "4 left of 5 · 1 held");
});

test("a drop that is scheduled between the list and the stream is not missed", async (t) => {
  const page = await open(t, "about:blank");
  let fresh;
  await page.route("**/v1/stream?*", async (route) => {
    fresh ??= await createDrop();
    return route.continue();
  });
  await page.goto(BASE);
  await eventually("it is there", async () => fresh && (await card(page, fresh).count()) === 1);
});

test("a page does not fill by itself without end", async (t) => {
  const page = await openLive(t, "/");
  const fresh = [];
  for (let number = 0; number <= PAGE; number += 1) fresh.push(await createDrop());
  await says(page.locator("toast-list"), "More new drops are here.");
  assert.equal((await ids(page)).length, 2 * PAGE);
  await page.getByRole("link", { name: "Show them" }).click();
  await card(page, fresh[PAGE]).waitFor();
  assert.equal((await ids(page)).length, PAGE);
});

test("purchasers of all cards are asked for together", async (t) => {
  const page = await openLive(t, "/");
  const seen = await record(page);
  const shown = drops.slice(0, 12);
  await Promise.all(shown.map(async ({ id }) => {
    const hold = await api("POST", `/v1/drops/${id}/holds`, { buyer_id: "ada", display_name: "Ada" });
    await api("POST", `/v1/holds/${hold.id}/purchase`);
  }));
  for (const drop of shown) await says(card(page, drop).locator(".purchasers"), "Top purchasers: Ada");
  assert.deepEqual(seen.requests.filter((path) => path.includes("purchasers?")), []);
  const asked = seen.requests.filter((path) => path.startsWith("/v1/drops?ids="));
  assert.ok(asked.length > 0 && asked.length < shown.length / 2, `${asked.length} requests`);
  await page.reload();
  for (const drop of shown) await says(card(page, drop).locator(".purchasers"), "Top purchasers: Ada");
  assert.equal(seen.requests.filter((path) => path.startsWith("/v1/drops?ids=")).length, asked.length, "the list brings them");
});

test("the tabs of a browser ask for what each shows, and for no more", async (t) => {
  const within = await context(t);
  const streams = [];
  within.on("request", (request) => request.url().includes("/v1/stream") && streams.push(new URL(request.url()).searchParams));
  const far = drops[MANY - 1];
  const own = await openLive(t, `/drops/${far.id}`, { within });
  const shop = await openLive(t, "/", { within });
  await eventually("both are followed", () => streams.at(-1)?.get("new") === "true");
  assert.deepEqual(streams.at(-1).get("drops").split(",").sort(), [...(await ids(shop)), far.id].sort());
  await api("POST", `/v1/drops/${far.id}/holds`, { buyer_id: "somebody" });
  await says(own.locator("stock-bar .units"), "1 held");
  const fresh = await createDrop();
  await card(shop, fresh).waitFor();
  assert.equal(await card(shop, far).count(), 0);
});

test("the dashboard asks for one page of drops, and turns and searches on the server", async (t) => {
  const page = await openDashboard(t);
  const seen = await record(page);
  await page.locator("#window").selectOption("24h");
  const rows = page.locator("drop-table tbody tr");
  const names = () => rows.locator("th").allInnerTexts();
  const shows = (what, wanted) => eventually(what, async () => (await names()).join() === wanted.join());
  const all = (await api("GET", "/v1/admin/metrics?limit=100")).drops.map(({ name }) => name);
  await shows("the first page", all.slice(0, 50));
  assert.ok((await page.locator("#chart-drop option").count()) <= 51);
  await page.getByRole("button", { name: "Older drops" }).click();
  await shows("the second page", all.slice(50, 100));
  await page.getByRole("button", { name: "Newer drops" }).click();
  await shows("the first page", all.slice(0, 50));
  await page.getByLabel("Find by name").fill(`${SERIES.toUpperCase()} 01`);
  await shows("what is found", drops.map(({ name }) => name).filter((name) => name.startsWith(`${SERIES} 01`)));
  await page.getByLabel("Show").selectOption({ label: "Coming up" });
  await says(page.locator("drop-table"), "No drop of this kind.");
  await page.getByLabel("Show").selectOption({ label: "On now" });
  await page.getByLabel("Find by name").fill("");
  await shows("the first page of what is on", drops.slice(0, 50).map(({ name }) => name));
  // Changes of what is shown are told, and the log names drops that are not.
  await api("POST", `/v1/drops/${drops[0].id}/holds`, { buyer_id: "somebody" });
  await edit(drops[MANY - 2], { name: "Not on this page" });
  await says(page.locator("event-log"), "Not on this page");
  assert.deepEqual(seen.requests.filter((path) => /^\/v1\/drops\/[^?]/.test(path)), []);
  for (const path of seen.requests.filter((path) => path.startsWith("/v1/stream"))) {
    assert.ok((new URL(path, BASE).searchParams.get("drops") ?? "").split(",").length <= 50, path);
  }
  const looks = seen.requests.filter((path) => path.startsWith("/v1/admin/metrics"));
  assert.ok(looks.every((path) => path.includes("limit=50")));
  assert.ok(seen.bytes / looks.length < 40_000, `${seen.bytes} bytes in ${looks.length} looks`);
});
