// What an admin and a buyer read is what the API says: in dialogs, messages and tiles, also after a change from elsewhere.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { api, card, close, context, createDrop, edit, eventually, launch, openDashboard, openLive, says } from "./lib.mjs";

before(launch);
after(close);

const row = (page, drop) => page.locator(`tr[data-drop-id="${drop.id}"]`);
const dialogOf = (page) => page.getByRole("dialog");
const read = (drop) => api("GET", `/v1/drops/${drop.id}`);
const adjust = (drop, delta) => api("POST", `/v1/drops/${drop.id}/stock-adjustments`, { delta, reason: "elsewhere" });
const wait = (drop, buyer) => api("POST", `/v1/drops/${drop.id}/waitlist`, { buyer_id: buyer });

/** Opens one of the dialogs of a drop. */
async function openLever(page, drop, lever) {
  await row(page, drop).getByRole("button", { name: lever }).click();
  await dialogOf(page).waitFor();
  return dialogOf(page);
}

async function openAdjust(page, drop, delta) {
  const dialog = await openLever(page, drop, "Adjust");
  await dialog.getByLabel(/Units to add/).fill(String(delta));
  await dialog.getByLabel(/Reason/).fill("Counted");
  return dialog;
}

const press = (dialog) => dialog.getByRole("button", { name: "Adjust the stock" }).click();

test("of two who adjust what both have seen, the second is shown what the first left", async (t) => {
  const drop = await createDrop({ total_stock: 10 });
  const [one, other] = [await openDashboard(t), await openDashboard(t)];
  const [first, second] = [await openAdjust(one, drop, -4), await openAdjust(other, drop, -4)];
  for (const dialog of [first, second]) await says(dialog, "Available: 10 now, 6 after.");
  await press(first);
  await says(one.locator("toast-list"), `${drop.name} has 6 units now: 6 available, 0 held, 0 sold. An adjustment by +4 takes it back.`);
  await says(second, "Available: 6 now, 2 after.");
  await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "a buyer" });
  await says(second, "Available: 5 now, 1 after.");
  await press(second);
  await says(other.locator("toast-list"), `${drop.name} has 2 units now: 1 available, 1 held, 0 sold. An adjustment by +4 takes it back.`);
  assert.deepEqual((await read(drop)).stock, { total: 2, available: 1, held: 1, sold: 0 });
});

test("an adjustment based on old numbers changes nothing, and goes on from those of now", async (t) => {
  const drop = await createDrop({ total_stock: 10 });
  const page = await openDashboard(t, { expected: [/status of 412/, /ERR_FAILED/] });
  await page.route(`**/v1/stream?drops=${drop.id}`, (route) => route.abort());
  const dialog = await openAdjust(page, drop, -4);
  await says(dialog, "Available: 10 now, 6 after.");
  await adjust(drop, -4);
  await press(dialog);
  await says(dialog.getByRole("alert"), "The stock was adjusted meanwhile, and nothing of yours is recorded.");
  await says(dialog, "Available: 6 now, 2 after.");
  assert.equal((await read(drop)).stock.total, 6);
  await press(dialog);
  await dialog.waitFor({ state: "detached" });
  assert.equal((await read(drop)).stock.total, 2);
});

test("an adjustment whose answer was lost is made once, though it changed the stock itself", async (t) => {
  const drop = await createDrop({ total_stock: 10 });
  const page = await openDashboard(t, { expected: [/ERR_FAILED/] });
  let sent = 0;
  await page.route("**/stock-adjustments", async (route) => {
    sent += 1;
    if (sent > 1) return route.continue();
    await route.fetch();
    return route.abort();
  });
  await press(await openAdjust(page, drop, -4));
  await says(page.locator("toast-list"), `${drop.name} has 6 units now: 6 available`);
  assert.deepEqual([sent, (await read(drop)).stock.total], [2, 6]);
});

test("added stock goes to the waitlist first, and neither dialog nor message promises it to others", async (t) => {
  const drop = await createDrop({ total_stock: 1, hold_seconds: 600 });
  await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "first" });
  const page = await openDashboard(t);
  const dialog = await openAdjust(page, drop, 2);
  await says(dialog, "Available: 0 now, 2 after.");
  for (const buyer of ["second", "third", "fourth"]) await wait(drop, buyer);
  await says(dialog, "Available: 0 now. What is added goes to the waitlist first, where 3 entries wait.");
  await press(dialog);
  const toast = page.locator("toast-list");
  await says(toast, `${drop.name} has 3 units now: 0 available, 3 held, 0 sold. 1 entry waits in line.`);
  assert.ok(!(await toast.innerText()).includes("takes it back"), "what is held cannot be taken away");
  const { stock, waitlist_length } = await read(drop);
  assert.deepEqual([stock, waitlist_length], [{ total: 3, available: 0, held: 3, sold: 0 }, 1]);
});

test("the cancel dialog counts the holds and waitlist entries that it ends, as they change", async (t) => {
  const drop = await createDrop({ total_stock: 2, hold_seconds: 600 });
  const page = await openDashboard(t);
  const dialog = await openLever(page, drop, "Cancel");
  for (const words of ["No unit is on hold right now.", "No entry waits in line.", "Nothing was sold yet."]) await says(dialog, words);
  const hold = await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "first" });
  await api("POST", `/v1/holds/${hold.id}/purchase`);
  await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "second" });
  const entry = await wait(drop, "third");
  await says(dialog, "1 unit on hold right now: those holds are released at once.");
  await says(dialog, "1 entry waits in line: the waitlist is closed, and its buyers see that.");
  await says(dialog, "1 unit sold so far: it stays sold.");
  await dialog.getByRole("button", { name: "Cancel the drop" }).click();
  await says(page.locator("toast-list"), `${drop.name} is called off. 1 unit stays sold.`);
  assert.equal((await api("GET", `/v1/waitlist/${entry.id}`)).status, "closed");
});

test("a drop that is over has nothing left, on any page", async (t) => {
  const [cancelled, ended] = [await createDrop({ total_stock: 100 }), await createDrop({ total_stock: 100 })];
  const within = await context(t);
  const [shop, dashboard] = [await openLive(t, "/", { within }), await openDashboard(t, { within })];
  for (const drop of [cancelled, ended]) await says(card(shop, drop).locator(".units"), "100 left of 100");
  await api("POST", `/v1/drops/${cancelled.id}/cancel`);
  await edit(ended, { ends_at: new Date(Date.now() + 500).toISOString() });
  for (const drop of [cancelled, ended]) {
    await says(card(shop, drop).locator(".units"), "0 sold of 100");
    const page = await openLive(t, `/drops/${drop.id}`, { within });
    await says(page.locator("stock-bar .units"), "0 sold of 100");
    await says(page.locator(".figures"), /^Not sold 100 Held 0 Sold 0 In all 100$/i);
    for (const text of [await page.locator("main").innerText(), await card(shop, drop).innerText()]) assert.doesNotMatch(text, /left|available/i);
    await says(row(dashboard, drop), /100\s+–\s+0\s+0\s+0/);
    await page.close();
  }
});

test("tiles, table and chart count the same: units", async (t) => {
  const drop = await createDrop({ total_stock: 20, max_per_hold: 5, hold_seconds: 600 });
  const page = await openDashboard(t);
  const tile = (name) => page.locator(".tile", { has: page.getByText(name, { exact: true }) });
  for (const [buyer, act] of [["sold", "purchase"], ["kept", ""], ["given back", "DELETE"]]) {
    const hold = await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: buyer, quantity: 3 });
    if (act === "purchase") await api("POST", `/v1/holds/${hold.id}/purchase`);
    if (act === "DELETE") await api("DELETE", `/v1/holds/${hold.id}`);
  }
  await says(row(page, drop), /20\s+14\s+3\s+3\s+0/);
  // Of all drops together, so the API says what it has to be.
  await eventually("the tiles are those of the API", async () => {
    const metrics = await api("GET", "/v1/admin/metrics?window=1h");
    const shown = await Promise.all(["Put on hold", "Sold", "Expired", "Released"].map(async (name) => (await tile(name).innerText()).replaceAll(/\s+/g, " ")));
    const said = (units, parts, one) => `${units.toLocaleString("en")} ${units === 1 ? "unit" : "units"}, in ${parts.toLocaleString("en")} ${one}${parts === 1 ? "" : "s"}`;
    const wanted = [
      `Put on hold ${said(metrics.units_held, metrics.holds_placed, "hold")}`,
      `Sold ${said(metrics.units_sold, metrics.purchases_confirmed, "purchase")}`,
      `Expired ${said(metrics.units_expired, metrics.holds_expired, "hold")}`,
      `Released ${said(metrics.units_released, metrics.holds_released, "hold")}`,
    ];
    return shown.every((words, place) => words === wanted[place]);
  });
});

test("a request for purchasers that failed shows an error, and is repeated", async (t) => {
  const drop = await createDrop();
  const hold = await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "ada", display_name: "Ada" });
  const within = await context(t);
  let isBroken = true;
  // The page of one drop asks for its purchasers; the shop's asks for those of its cards together.
  for (const asked of ["**/purchasers?**", "**/v1/drops?ids=**"]) {
    await within.route(asked, (route) => (isBroken ? route.fulfill({ status: 503, json: { code: "unavailable" } }) : route.continue()));
  }
  const expected = [/status of 503/];
  const shop = await openLive(t, "/", { within, expected });
  await api("POST", `/v1/holds/${hold.id}/purchase`);
  const page = await openLive(t, `/drops/${drop.id}`, { within, expected });
  await says(card(shop, drop), "The purchasers could not be read. Trying again.");
  const lists = page.locator("drop-sheet .columns");
  await says(lists, /This could not be read\. Try again .* This could not be read\. Try again/);
  for (const text of [await card(shop, drop).innerText(), await lists.innerText()]) assert.doesNotMatch(text, /no purchases/i);
  isBroken = false;
  await lists.getByRole("button", { name: "Try again" }).first().click();
  await says(lists, /Ada .* Ada/);
  await says(card(shop, drop), "Top purchasers: Ada");
});

test("an empty list of purchasers does not stay once stock is sold", async (t) => {
  const drop = await createDrop();
  const page = await openLive(t, `/drops/${drop.id}`, { expected: [/status of 503/] });
  const lists = page.locator("drop-sheet .columns");
  await says(lists, "No purchases yet.");
  await page.route("**/purchasers?**", (route) => route.fulfill({ status: 503, json: { code: "unavailable" } }));
  const hold = await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "ada", display_name: "Ada" });
  await api("POST", `/v1/holds/${hold.id}/purchase`);
  await says(lists, "This could not be read.");
  assert.doesNotMatch(await lists.innerText(), /no purchases/i);
  await page.unroute("**/purchasers?**");
  await says(lists, /Ada .* Ada/);
});

test("numbers that could not be refreshed are marked as old", async (t) => {
  const drop = await createDrop();
  const page = await openDashboard(t, { expected: [/status of 503/] });
  await row(page, drop).waitFor();
  const note = page.locator("#stale");
  assert.ok(await note.isHidden());
  await page.route("**/v1/admin/timeline?**", (route) => route.fulfill({ status: 503, json: { code: "unavailable" } }));
  await edit(drop, { name: `${drop.name}, again` });
  await says(note, /^The numbers below could not be read since [\d:]+\. Trying again\.$/);
  await page.unroute("**/v1/admin/timeline?**");
  await note.waitFor({ state: "hidden" });
});
