// The dashboard: sign-in, display, and actions.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import {
  ADMIN_KEY,
  api,
  boxOf,
  card,
  close,
  createDrop,
  edit,
  eventually,
  expectText,
  launch,
  open,
  openDashboard,
  openLive,
} from "./lib.mjs";

before(launch);
after(close);

const row = (page, drop) => page.locator(`tr[data-drop-id="${drop.id}"]`);

test("only the admin key opens the dashboard, and the browser does not store it", async (t) => {
  const page = await open(t, "/admin", { expected: [/status of 401/] });
  await page.getByRole("button", { name: "Sign in" }).click();
  await expectText(page.getByRole("alert"), "Enter the admin key.");
  await page.fill("#key", "a guess");
  await page.getByRole("button", { name: "Sign in" }).click();
  await expectText(page.getByRole("alert"), "This is not the admin key.");
  await page.fill("#key", ADMIN_KEY);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Sold versus expired" }).waitFor();
  const kept = await page.evaluate(() =>
    [
      document.documentElement.outerHTML,
      location.href,
      document.cookie,
      JSON.stringify({ ...localStorage, ...sessionStorage }),
    ].join("\n"),
  );
  assert.ok(!kept.includes(ADMIN_KEY));
  assert.ok(!kept.includes("holdfast_admin"), "no script can read the cookie");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Admin key").waitFor();
  await page.reload();
  await page.getByLabel("Admin key").waitFor();
});

test("the shop shows a new drop, its edits, adjustments and cancellation immediately", async (t) => {
  const [dashboard, shop] = [
    await openDashboard(t, { expected: [/status of 422/] }),
    await openLive(t, "/"),
  ];
  const name = `Beacon ${Date.now()}`;
  await dashboard.getByRole("button", { name: "New drop" }).click();
  const dialog = dashboard.getByRole("dialog");
  await dialog.getByLabel("Name").fill(name);
  await dialog.getByLabel("Units", { exact: true }).fill("12");
  await dialog.getByLabel("Price").fill("12.50");
  await dialog.getByLabel("Currency").fill("XXZ");
  await dialog.getByRole("button", { name: "Create the drop" }).click();
  await eventually("the wrong field is marked", () =>
    dialog.getByLabel("Currency").getAttribute("aria-invalid"),
  );
  await dialog.getByLabel("Currency").fill("eur");
  await dialog.getByRole("button", { name: "Create the drop" }).click();
  await dialog.waitFor({ state: "detached" });
  const drop = (await api("GET", "/v1/drops")).data.find((drop) => drop.name === name);
  assert.deepEqual(drop.price, { amount: 1250, currency: "EUR" });
  await expectText(card(shop, drop), "12 left of 12");
  await expectText(row(dashboard, drop), name);

  await row(dashboard, drop).getByRole("button", { name: "Edit" }).click();
  await dialog.getByLabel("Name").fill(`${name}, second edition`);
  await dialog.getByRole("button", { name: "Save" }).click();
  await expectText(card(shop, drop), "second edition");
  const edited = await api("GET", `/v1/drops/${drop.id}`);
  assert.deepEqual(
    [edited.price, edited.starts_at],
    [drop.price, drop.starts_at],
    "other fields are unchanged",
  );

  await row(dashboard, drop).getByRole("button", { name: "Adjust" }).click();
  await dialog.getByLabel(/Units to add/).fill("-2");
  await expectText(dialog, "Available: 12 now, 10 after.");
  await dialog.getByLabel(/Reason/).fill("Two were broken");
  await dialog.getByRole("button", { name: "Adjust the stock" }).click();
  await expectText(card(shop, drop), "10 left of 10");

  await card(shop, drop).getByRole("button", { name: "Hold it" }).click();
  await expectText(row(dashboard, drop), /10\s+9\s+1\s+0\s+0/);
  await row(dashboard, drop).getByRole("button", { name: "Cancel" }).click();
  await expectText(dialog, "This cannot be undone.");
  await dialog.getByRole("button", { name: "Keep the drop" }).click();
  await dialog.waitFor({ state: "detached" });
  assert.equal((await api("GET", `/v1/drops/${drop.id}`)).status, "live");
  await row(dashboard, drop).getByRole("button", { name: "Cancel" }).click();
  await expectText(dialog, "1 unit is on hold: these holds will be released.");
  await dialog.getByRole("button", { name: "Cancel the drop" }).click();
  await expectText(card(shop, drop).locator(".status"), "Cancelled");
  await expectText(row(dashboard, drop), "Cancelled");
  for (const event of [
    "Drop scheduled",
    "Drop rescheduled",
    "Stock adjusted",
    "Hold placed",
    "Hold released",
    "Drop cancelled",
  ])
    await expectText(dashboard.locator("event-log"), event);
});

const dialogOf = (page) => page.getByRole("dialog");
/** The accessible description of a field. */
const described = (field) =>
  field.evaluate((control) =>
    (control.getAttribute("aria-describedby") ?? "")
      .split(" ")
      .map((id) => document.getElementById(id)?.textContent)
      .join(" "),
  );
const isInSight = (locator) =>
  locator.evaluate((element) => {
    const [{ top, bottom }, around] = [
      element.getBoundingClientRect(),
      element.closest("dialog").getBoundingClientRect(),
    ];
    return top >= around.top && bottom <= around.bottom;
  });

test("an ambiguous price is rejected", async (t) => {
  const page = await openDashboard(t);
  await page.getByRole("button", { name: "New drop" }).click();
  const dialog = dialogOf(page);
  const [price, currency] = [dialog.getByLabel("Price"), dialog.getByLabel("Currency")];
  const create = dialog.getByRole("button", { name: "Create the drop" });
  await dialog.getByLabel("Name").fill(`Price ${Date.now()}`);
  for (const [text, of, words] of [
    ["1,999", "EUR", "EUR has 2 decimals."],
    ["1.999", "EUR", "EUR has 2 decimals."],
    ["49.50", "JPY", "JPY has no decimals."],
    ["1,999.00", "EUR", "Enter digits and a decimal point"],
    ["1 999", "EUR", "Enter digits and a decimal point"],
    ["-1", "EUR", "Enter digits and a decimal point"],
    ["", "EUR", "This field is required."],
    ["99999999999", "EUR", "At most €10,000,000,000.00."],
  ]) {
    await price.fill(text);
    await currency.fill(of);
    await create.click();
    await eventually(`${text} ${of} is refused`, async () =>
      (await described(price)).includes(words),
    );
    assert.equal(await price.getAttribute("aria-invalid"), "true");
    assert.equal(await dialog.locator("output").innerText(), "");
  }
  for (const [text, of, echoed] of [
    ["1999", "EUR", "= €1,999.00"],
    ["1,9", "eur", "= €1.90"],
    ["4950", "JPY", "= ¥4,950"],
    ["1.999", "KWD", /^= KWD\s1\.999$/],
    ["19990", "HUF", /^= HUF\s19,990\.00$/],
    ["49.50", "EUR", "= €49.50"],
  ]) {
    await price.fill(text);
    await currency.fill(of);
    await expectText(dialog.locator("output"), echoed);
    assert.equal(await price.getAttribute("aria-invalid"), null);
  }
  await create.click();
  await dialog.waitFor({ state: "detached" });
  const [drop] = (await api("GET", "/v1/drops?limit=1")).data;
  assert.deepEqual(drop.price, { amount: 4950, currency: "EUR" });
});

test("HUF has two decimals by ISO 4217, independent of the browser's table", async (t) => {
  const page = await openDashboard(t);
  await page.getByRole("button", { name: "New drop" }).click();
  const dialog = dialogOf(page);
  await dialog.getByLabel("Name").fill(`Forint ${Date.now()}`);
  await dialog.getByLabel("Currency").fill("HUF");
  await dialog.getByLabel("Price").fill("19990");
  await dialog.getByRole("button", { name: "Create the drop" }).click();
  await dialog.waitFor({ state: "detached" });
  const [drop] = (await api("GET", "/v1/drops?limit=1")).data;
  assert.deepEqual(drop.price, { amount: 1_999_000, currency: "HUF" });
});

test("the error of a field is visible next to it, in local time", async (t) => {
  const page = await openDashboard(t, {
    expected: [/status of 422/],
    viewport: { width: 390, height: 600 },
    timezoneId: "Asia/Tokyo",
  });
  await page.getByRole("button", { name: "New drop" }).click();
  const dialog = dialogOf(page);
  await dialog.getByLabel("Name").fill("Backwards");
  await dialog.getByLabel("Price").fill("1");
  await dialog.getByLabel("Starts").fill("2031-05-02T09:30");
  await dialog.getByLabel("Ends").fill("2031-05-01T09:30");
  await dialog.getByRole("button", { name: "Create the drop" }).click();
  const ends = dialog.getByLabel("Ends");
  await eventually("the end is refused", async () =>
    (await described(ends)).includes("The end must be after the start, 2 May 2031, 09:30:00."),
  );
  assert.ok(await isInSight(ends));
  assert.ok(await ends.evaluate((control) => control === document.activeElement));
  await ends.fill("");
  assert.equal(await described(ends), "Empty: no end. ");
  await dialog.getByLabel("Hold duration").fill("4000");
  await dialog.getByRole("button", { name: "Create the drop" }).click();
  await eventually("the duration is refused", async () =>
    (await described(dialog.getByLabel("Hold duration"))).includes(
      "Enter a number from 1 to 3600.",
    ),
  );
});

test("a concurrent edit by another administrator loses no input", async (t) => {
  const drop = await createDrop({ description: "Before" });
  const page = await openDashboard(t, { expected: [/status of 412/] });
  await row(page, drop).getByRole("button", { name: "Edit" }).click();
  const dialog = dialogOf(page);
  await dialog.getByLabel("Description").fill("Mine");
  await dialog.getByLabel("Price").fill("60");
  await edit(drop, { name: `${drop.name}, theirs`, price: { amount: 5500, currency: "EUR" } });
  await dialog.getByRole("button", { name: "Save" }).click();
  await expectText(
    dialog.getByRole("alert"),
    "This drop was edited since you opened it. Your changes are not saved yet.",
  );
  await dialog.getByRole("button", { name: "Load the new version, keep my changes" }).click();
  await expectText(
    dialog.getByRole("alert"),
    "Your changes are kept: Description, Price. Also changed in the new version: Price (now 55.00).",
  );
  assert.equal(await dialog.getByLabel("Name").inputValue(), `${drop.name}, theirs`);
  await dialog.getByRole("button", { name: "Save" }).click();
  await dialog.waitFor({ state: "detached" });
  const { name, description, price } = await api("GET", `/v1/drops/${drop.id}`);
  assert.deepEqual([name, description, price.amount], [`${drop.name}, theirs`, "Mine", 6000]);
});

test("an edit with a lost response is not mistaken for a concurrent edit", async (t) => {
  const drop = await createDrop({ description: "Before" });
  const page = await openDashboard(t, { expected: [/status of 412/, /ERR_/] });
  const sent = [];
  await page.route(`**/v1/drops/${drop.id}`, async (route) => {
    const request = route.request();
    if (request.method() !== "PATCH") return route.continue();
    sent.push(request.headers()["if-match"]);
    if (sent.length > 1) return route.continue();
    await route.fetch();
    return route.abort();
  });
  await row(page, drop).getByRole("button", { name: "Edit" }).click();
  const dialog = dialogOf(page);
  await dialog.getByLabel("Description").fill("");
  await dialog.getByLabel("Price").fill("60");
  await dialog.getByLabel("Ends").fill("2040-05-01T09:30");
  await dialog.getByLabel("Throttle: holds").fill("3");
  await dialog.getByLabel("Throttle: window").fill("60");
  await dialog.getByRole("button", { name: "Save" }).click();
  await dialog.waitFor({ state: "detached" });
  await expectText(page.locator("toast-list"), `${drop.name} was saved.`);
  assert.equal(sent.length, 2);
  assert.equal(sent[0], sent[1]);
  const { description, price, throttle } = await api("GET", `/v1/drops/${drop.id}`);
  assert.deepEqual(
    [description, price.amount, throttle],
    [null, 6000, { holds: 3, window_seconds: 60 }],
  );
});

test("an edit works through a compressing proxy, and with a picture path on this server", async (t) => {
  const drop = await createDrop({ image_url: "/assets/mark.svg" });
  const page = await openDashboard(t);
  await page.route(`**/v1/drops/${drop.id}`, async (route) => {
    if (route.request().method() !== "GET") return route.continue();
    const response = await route.fetch();
    const headers = response.headers();
    return route.fulfill({ response, headers: { ...headers, etag: `W/${headers.etag}` } });
  });
  await row(page, drop).getByRole("button", { name: "Edit" }).click();
  const dialog = dialogOf(page);
  await dialog.getByLabel("Name").fill(`${drop.name}, again`);
  await dialog.getByRole("button", { name: "Save" }).click();
  await dialog.waitFor({ state: "detached" });
  const { name, image_url } = await api("GET", `/v1/drops/${drop.id}`);
  assert.deepEqual([name, image_url], [`${drop.name}, again`, "/assets/mark.svg"]);
});

test("a new name of a drop is shown everywhere", async (t) => {
  const drop = await createDrop();
  const page = await openDashboard(t);
  const name = `${drop.name}, renamed`;
  const option = page.locator(`#chart-drop option[value="${drop.id}"]`);
  await option.waitFor({ state: "attached" });
  await edit(drop, { name });
  await row(page, drop)
    .getByRole("button", { name: `Adjust ${name}` })
    .waitFor();
  assert.equal(await option.innerText(), name);
});

test("ended drops can be hidden, and the focus stays in the row of a cancelled drop", async (t) => {
  const [over, on] = [await createDrop(), await createDrop()];
  const page = await openDashboard(t);
  await row(page, over).getByRole("button", { name: "Cancel" }).click();
  await dialogOf(page).getByRole("button", { name: "Cancel the drop" }).click();
  await expectText(row(page, over), "Cancelled");
  await eventually("the focus is in the row", () =>
    row(page, over).evaluate((element) => element.contains(document.activeElement)),
  );
  const shown = async () => [await row(page, over).isVisible(), await row(page, on).isVisible()];
  assert.deepEqual(await shown(), [true, true]);
  for (const [label, expected] of [
    ["Current and upcoming", [false, true]],
    ["Ended and cancelled", [true, false]],
    ["On sale", [false, true]],
    ["Upcoming", [false, false]],
  ]) {
    await page.getByLabel("Show").selectOption({ label });
    await eventually(`${label} is shown`, async () => (await shown()).join() === expected.join());
  }
});

test("on a phone all actions of a drop are visible", async (t) => {
  const drop = await createDrop();
  const page = await openDashboard(t, {
    viewport: { width: 390, height: 844 },
    isMobile: true,
    hasTouch: true,
  });
  await row(page, drop).waitFor();
  const labels = await row(page, drop)
    .locator("td")
    .evaluateAll((cells) => cells.map((cell) => getComputedStyle(cell, "::before").content));
  assert.deepEqual(
    labels.filter((words) => words !== "none"),
    ['"Total"', '"Available"', '"Held"', '"Sold"', '"Expired"'],
  );
  for (const name of ["Edit", "Adjust", "Cancel"]) {
    const { x, width } = await boxOf(row(page, drop).getByRole("button", { name }));
    assert.ok(x >= 0 && x + width <= 390, `${name} is at ${x}`);
  }
  assert.ok(
    (await page.locator("drop-table").getByRole("rowheader").count()) > 1,
    "it is still a table",
  );
});

test("the chart, its table and its CSV file show the same numbers, live", async (t) => {
  const drop = await createDrop({ hold_seconds: 1, max_per_hold: 5, total_stock: 20 });
  const page = await openDashboard(t);
  await page.locator("#chart-drop").selectOption({ label: drop.name });
  await expectText(page.locator("#chart-table"), "No activity in this window.");
  const hold = await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "ada", quantity: 3 });
  await api("POST", `/v1/holds/${hold.id}/purchase`);
  await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "bo", quantity: 2 });
  await expectText(page.locator("sales-chart svg + *, sales-chart").first(), "Sold");
  await eventually("the chart shows both", async () =>
    /^3 units sold and 2 expired/.test(
      (await page.locator("sales-chart svg").getAttribute("aria-label")) ?? "",
    ),
  );
  assert.ok((await page.locator("sales-chart rect.sold").count()) >= 1);
  assert.ok((await page.locator("sales-chart rect.expired").count()) >= 1);

  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: "Download CSV" }).click(),
  ]);
  const [head, ...lines] = (await readFile(await download.path(), "utf8")).trim().split("\r\n");
  assert.equal(head, "start,held,sold,expired,released,refunded");
  assert.equal(lines.length, 60);
  const sum = (column) => lines.reduce((total, line) => total + Number(line.split(",")[column]), 0);
  assert.deepEqual([sum(1), sum(2), sum(3), sum(4), sum(5)], [5, 3, 2, 0, 0]);

  await page.locator("#window").selectOption("7d");
  await eventually("a week of buckets", async () =>
    (await page.locator("sales-chart svg").getAttribute("aria-label"))?.startsWith("3 units sold"),
  );
  await expectText(page.locator("health-list"), "accepting requests");
  await eventually(
    "the projections are up to date",
    async () => !(await page.locator("health-list").innerText()).includes("behind"),
  );
});

test("a session that ended elsewhere leads to the sign-in page", async (t) => {
  const page = await openDashboard(t, { expected: [/status of 401/] });
  await page.context().clearCookies();
  await page.getByLabel("Admin key").waitFor();
});
