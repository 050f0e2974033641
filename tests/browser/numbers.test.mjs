// The numbers in dialogs, messages and tiles equal those of the API, also after a change from
// elsewhere.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  api,
  card,
  close,
  context,
  createDrop,
  edit,
  eventually,
  expectText,
  launch,
  openDashboard,
  openLive,
} from "./lib.mjs";

before(launch);
after(close);

const row = (page, drop) => page.locator(`tr[data-drop-id="${drop.id}"]`);
const dialogOf = (page) => page.getByRole("dialog");
const read = (drop) => api("GET", `/v1/drops/${drop.id}`);
const adjust = (drop, delta) =>
  api("POST", `/v1/drops/${drop.id}/stock-adjustments`, { delta, reason: "elsewhere" });
const wait = (drop, buyer) => api("POST", `/v1/drops/${drop.id}/waitlist`, { buyer_id: buyer });

/** Opens the dialog of one action of a drop. */
async function openAction(page, drop, action) {
  await row(page, drop).getByRole("button", { name: action }).click();
  await dialogOf(page).waitFor();
  return dialogOf(page);
}

async function openAdjust(page, drop, delta) {
  const dialog = await openAction(page, drop, "Adjust");
  await dialog.getByLabel(/Units to add/).fill(String(delta));
  await dialog.getByLabel(/Reason/).fill("Counted");
  return dialog;
}

const press = (dialog) => dialog.getByRole("button", { name: "Adjust the stock" }).click();

test("of two concurrent adjustments, the second dialog shows the result of the first", async (t) => {
  const drop = await createDrop({ total_stock: 10 });
  const [one, other] = [await openDashboard(t), await openDashboard(t)];
  const [first, second] = [await openAdjust(one, drop, -4), await openAdjust(other, drop, -4)];
  for (const dialog of [first, second]) await expectText(dialog, "Available: 10 now, 6 after.");
  await press(first);
  await expectText(
    one.locator("toast-list"),
    `${drop.name} has 6 units now: 6 available, 0 held, 0 sold. An adjustment by +4 reverts it.`,
  );
  await expectText(second, "Available: 6 now, 2 after.");
  await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "a buyer" });
  await expectText(second, "Available: 5 now, 1 after.");
  await press(second);
  await expectText(
    other.locator("toast-list"),
    `${drop.name} has 2 units now: 1 available, 1 held, 0 sold. An adjustment by +4 reverts it.`,
  );
  assert.deepEqual((await read(drop)).stock, { total: 2, available: 1, held: 1, sold: 0 });
});

test("an adjustment based on outdated numbers is rejected, and can be repeated with current ones", async (t) => {
  const drop = await createDrop({ total_stock: 10 });
  const page = await openDashboard(t, { expected: [/status of 412/, /ERR_FAILED/] });
  await page.route(`**/v1/stream?drops=${drop.id}`, (route) => route.abort());
  const dialog = await openAdjust(page, drop, -4);
  await expectText(dialog, "Available: 10 now, 6 after.");
  await adjust(drop, -4);
  await press(dialog);
  await expectText(
    dialog.getByRole("alert"),
    "The stock was adjusted since you opened this dialog, and your adjustment was not recorded.",
  );
  await expectText(dialog, "Available: 6 now, 2 after.");
  assert.equal((await read(drop)).stock.total, 6);
  await press(dialog);
  await dialog.waitFor({ state: "detached" });
  assert.equal((await read(drop)).stock.total, 2);
});

test("an adjustment with a lost response is made once, although it changed the stock itself", async (t) => {
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
  await expectText(page.locator("toast-list"), `${drop.name} has 6 units now: 6 available`);
  assert.deepEqual([sent, (await read(drop)).stock.total], [2, 6]);
});

test("added stock is offered to the waitlist first, and not promised to others", async (t) => {
  const drop = await createDrop({ total_stock: 1, hold_seconds: 600 });
  await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "first" });
  const page = await openDashboard(t);
  const dialog = await openAdjust(page, drop, 2);
  await expectText(dialog, "Available: 0 now, 2 after.");
  for (const buyer of ["second", "third", "fourth"]) await wait(drop, buyer);
  await expectText(
    dialog,
    "Available: 0 now. Added units are offered to the waitlist first (3 entries waiting).",
  );
  await press(dialog);
  const toast = page.locator("toast-list");
  await expectText(
    toast,
    `${drop.name} has 3 units now: 0 available, 3 held, 0 sold. 1 entry is waiting.`,
  );
  assert.ok(!(await toast.innerText()).includes("reverts it"), "held units cannot be removed");
  const { stock, waitlist_length } = await read(drop);
  assert.deepEqual([stock, waitlist_length], [{ total: 3, available: 0, held: 3, sold: 0 }, 1]);
});

test("the cancel dialog counts the affected holds and waitlist entries, live", async (t) => {
  const drop = await createDrop({ total_stock: 2, hold_seconds: 600 });
  const page = await openDashboard(t);
  const dialog = await openAction(page, drop, "Cancel");
  for (const words of [
    "No units are on hold.",
    "No waitlist entries are waiting.",
    "No units are sold.",
  ])
    await expectText(dialog, words);
  const hold = await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "first" });
  await api("POST", `/v1/holds/${hold.id}/purchase`);
  await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "second" });
  const entry = await wait(drop, "third");
  await expectText(dialog, "1 unit is on hold: these holds will be released.");
  await expectText(
    dialog,
    "1 waitlist entry is waiting: the waitlist will be closed, and the buyers will see this on their pages.",
  );
  await expectText(dialog, "1 unit is sold: purchases remain valid.");
  await dialog.getByRole("button", { name: "Cancel the drop" }).click();
  await expectText(page.locator("toast-list"), `${drop.name} was cancelled. 1 unit remains sold.`);
  assert.equal((await api("GET", `/v1/waitlist/${entry.id}`)).status, "closed");
});

test("a drop that has ended shows no available units on any page", async (t) => {
  const [cancelled, ended] = [
    await createDrop({ total_stock: 100 }),
    await createDrop({ total_stock: 100 }),
  ];
  const within = await context(t);
  const [shop, dashboard] = [
    await openLive(t, "/", { within }),
    await openDashboard(t, { within }),
  ];
  for (const drop of [cancelled, ended])
    await expectText(card(shop, drop).locator(".units"), "100 left of 100");
  await api("POST", `/v1/drops/${cancelled.id}/cancel`);
  await edit(ended, { ends_at: new Date(Date.now() + 500).toISOString() });
  for (const drop of [cancelled, ended]) {
    await expectText(card(shop, drop).locator(".units"), "0 sold of 100");
    const page = await openLive(t, `/drops/${drop.id}`, { within });
    await expectText(page.locator("stock-bar .units"), "0 sold of 100");
    await expectText(page.locator(".figures"), /^Unsold 100 Held 0 Sold 0 Total 100$/i);
    for (const text of [await page.locator("main").innerText(), await card(shop, drop).innerText()])
      assert.doesNotMatch(text, /left|available/i);
    await expectText(row(dashboard, drop), /100\s+–\s+0\s+0\s+0/);
    await page.close();
  }
});

test("tiles, table and chart count units", async (t) => {
  const drop = await createDrop({ total_stock: 20, max_per_hold: 5, hold_seconds: 600 });
  const page = await openDashboard(t);
  const tile = (name) => page.locator(".tile", { has: page.getByText(name, { exact: true }) });
  for (const [buyer, act] of [
    ["sold", "purchase"],
    ["kept", ""],
    ["released", "DELETE"],
  ]) {
    const hold = await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: buyer, quantity: 3 });
    if (act === "purchase") await api("POST", `/v1/holds/${hold.id}/purchase`);
    if (act === "DELETE") await api("DELETE", `/v1/holds/${hold.id}`);
  }
  await expectText(row(page, drop), /20\s+14\s+3\s+3\s+0/);
  // The tiles cover all drops, so the expected numbers come from the API.
  await eventually("the tiles are those of the API", async () => {
    const metrics = await api("GET", "/v1/admin/metrics?window=1h");
    const shown = await Promise.all(
      ["Held", "Sold", "Expired", "Released"].map(async (name) =>
        (await tile(name).innerText()).replaceAll(/\s+/g, " "),
      ),
    );
    const text = (units, parts, one) =>
      `${units.toLocaleString("en")} ${units === 1 ? "unit" : "units"}, in ${parts.toLocaleString("en")} ${one}${parts === 1 ? "" : "s"}`;
    const expected = [
      `Held ${text(metrics.units_held, metrics.holds_placed, "hold")}`,
      `Sold ${text(metrics.units_sold, metrics.purchases_confirmed, "purchase")}`,
      `Expired ${text(metrics.units_expired, metrics.holds_expired, "hold")}`,
      `Released ${text(metrics.units_released, metrics.holds_released, "hold")}`,
    ];
    return shown.every((words, index) => words === expected[index]);
  });
});

test("a failed request for purchasers shows an error, and is repeated", async (t) => {
  const drop = await createDrop();
  const hold = await api("POST", `/v1/drops/${drop.id}/holds`, {
    buyer_id: "ada",
    display_name: "Ada",
  });
  const within = await context(t);
  let isBroken = true;
  await within.route("**/purchasers?**", (route) =>
    isBroken ? route.fulfill({ status: 503, json: { code: "unavailable" } }) : route.continue(),
  );
  await api("POST", `/v1/holds/${hold.id}/purchase`);
  const expected = [/status of 503/];
  const page = await openLive(t, `/drops/${drop.id}`, { within, expected });
  await page.locator("#purchasers summary").click();
  const lists = page.locator("drop-sheet .columns");
  await expectText(
    lists,
    /The list could not be loaded\. Retry .* The list could not be loaded\. Retry/,
  );
  assert.doesNotMatch(await lists.innerText(), /no purchases/i);
  isBroken = false;
  await lists.getByRole("button", { name: "Retry" }).first().click();
  await expectText(lists, /Ada .* Ada/);
});

test("an empty list of purchasers is replaced once stock is sold", async (t) => {
  const drop = await createDrop();
  const page = await openLive(t, `/drops/${drop.id}`, { expected: [/status of 503/] });
  const lists = page.locator("drop-sheet .columns");
  await page.locator("#purchasers summary").click();
  await expectText(lists, "No purchases yet.");
  await page.route("**/purchasers?**", (route) =>
    route.fulfill({ status: 503, json: { code: "unavailable" } }),
  );
  const hold = await api("POST", `/v1/drops/${drop.id}/holds`, {
    buyer_id: "ada",
    display_name: "Ada",
  });
  await api("POST", `/v1/holds/${hold.id}/purchase`);
  await expectText(lists, "The list could not be loaded.");
  assert.doesNotMatch(await lists.innerText(), /no purchases/i);
  await page.unroute("**/purchasers?**");
  await expectText(lists, /Ada .* Ada/);
});

test("numbers that could not be refreshed are marked as outdated", async (t) => {
  const drop = await createDrop();
  const page = await openDashboard(t, { expected: [/status of 503/] });
  await row(page, drop).waitFor();
  const note = page.locator("#stale");
  assert.ok(await note.isHidden());
  await page.route("**/v1/admin/timeline?**", (route) =>
    route.fulfill({ status: 503, json: { code: "unavailable" } }),
  );
  await edit(drop, { name: `${drop.name}, again` });
  await expectText(
    note,
    /^The numbers below are from [\d:]+: they could not be refreshed\. Retrying\.$/,
  );
  await page.unroute("**/v1/admin/timeline?**");
  await note.waitFor({ state: "hidden" });
});
