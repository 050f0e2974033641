// The rooms of the dashboard: orders, revenue, buyers, webhooks, and open matters.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import {
  BASE,
  api,
  close,
  createDrop,
  edit,
  eventually,
  expectText,
  launch,
  open,
  openDashboard,
  openRoom,
  order,
  orderPaid,
} from "./lib.mjs";

before(launch);
after(close);

const row = (page, { id }) => page.locator(`tr[data-id="${id}"]`);
const dialogOf = (page) => page.getByRole("dialog");
const read = ({ id }) => api("GET", `/v1/orders/${id}`);
const stockOf = async ({ id }) => (await api("GET", `/v1/drops/${id}`)).stock;
/** The ids of the listed records, in their order. */
const listed = (page) =>
  page
    .locator("record-table tbody tr")
    .evaluateAll((rows) => rows.map((row) => row.getAttribute("data-id")));
const lists = (page, orders) =>
  eventually(`${orders.length} orders are listed`, async () => {
    const ids = await listed(page);
    return ids.length === orders.length && orders.every(({ id }, index) => ids[index] === id);
  });

/** Fills and submits the dialog. */
async function submit(page, words, fields) {
  for (const [label, value] of Object.entries(fields))
    await dialogOf(page).getByLabel(label).fill(value);
  await dialogOf(page).getByRole("button", { name: words, exact: true }).click();
  await dialogOf(page).waitFor({ state: "detached" });
}

/** Receives webhooks; `respond` returns the status. */
async function receiver(t, respond = () => 204) {
  const received = [];
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (piece) => {
      body += piece;
    });
    request.on("end", () => {
      received.push({ headers: request.headers, body: JSON.parse(body) });
      response.writeHead(respond(received.at(-1))).end();
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  return { received, url: `http://127.0.0.1:${server.address().port}/hook` };
}

test("orders are filtered by status, drop, buyer and payment reference, and paged", async (t) => {
  const drop = await createDrop({ total_stock: 60, hold_seconds: 600 });
  const other = await createDrop({ hold_seconds: 600 });
  const [buyer, reference] = [`ada-${randomUUID()}`, `pay-${randomUUID()}`];
  const paid = await orderPaid([drop, other], { buyer_id: buyer, payment_reference: reference });
  const waiting = await order([drop], { buyer_id: buyer });
  const page = await openRoom(t, "/admin/orders");
  await expectText(row(page, paid), /Paid .*1 × Lantern .*1 × Lantern .*€98.00/);

  await page.getByLabel("Buyer").fill(buyer.toUpperCase());
  await lists(page, [waiting, paid]);
  await page.getByLabel("Status").selectOption("pending");
  await lists(page, [waiting]);
  // A filtered list can be linked.
  await page.reload();
  await lists(page, [waiting]);
  await page.getByLabel("Buyer").fill("");
  await page.getByLabel("Status").selectOption("");
  await page.getByLabel("Payment reference").fill(reference);
  await lists(page, [paid]);
  await page.getByLabel("Payment reference").fill("");
  await page.getByLabel("Drop").fill(other.name);
  await page.keyboard.press("Tab");
  await lists(page, [paid]);
  await page.getByLabel("Drop").fill("no such drop");
  await page.keyboard.press("Tab");
  await expectText(page.locator("#drop-error"), "Choose a drop from the list");
  await page.getByLabel("Drop").fill(drop.id);
  await lists(page, [waiting, paid]);

  const more = [];
  for (let index = 0; index < 30; index += 1) more.unshift(await order([drop]));
  await lists(page, more.slice(0, 25));
  await page.getByRole("button", { name: "Older orders" }).click();
  await lists(page, [...more.slice(25), waiting, paid]);
  await page.getByRole("button", { name: "Newer orders" }).click();
  await lists(page, more.slice(0, 25));

  const started = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download CSV" }).click();
  const text = await readFile(await (await started).path(), "utf8");
  const lines = text.trim().split("\r\n");
  assert.match(lines[0], /^order_id,status,/);
  // One line for each item: 32 orders, of which one has two.
  assert.equal(lines.length, 1 + 33);
});

test("an order is paid, fulfilled and refunded by quantity", async (t) => {
  const [drop, other] = [
    await createDrop({ max_per_hold: 3, hold_seconds: 600 }),
    await createDrop({ hold_seconds: 600 }),
  ];
  const placed = await order([drop, drop, drop, other], { buyer_id: "Grace" });
  const page = await openRoom(t, "/admin/orders", { expected: [/status of 409/] });
  await row(page, placed)
    .getByRole("link", { name: placed.id.slice(0, 8) })
    .click();
  await expectText(page.locator("#state"), "Waiting for payment");
  assert.equal(await page.getByRole("button", { name: "Refund" }).count(), 0);
  await page.getByRole("button", { name: "Record a payment" }).click();
  await expectText(dialogOf(page), "Records that the shop took €196.00 itself.");
  await submit(page, "Record the payment", { "Payment reference": "bank-7" });
  await expectText(page.locator("#state"), "Paid");
  assert.equal((await read(placed)).payment_reference, "bank-7");
  await expectText(page.locator("#facts"), "bank-7");
  await expectText(page.locator("record-table"), /Purchased/);

  await page.getByRole("button", { name: "Fulfilment" }).click();
  await dialogOf(page).getByLabel("Step").selectOption("shipped");
  await submit(page, "Set the step", { Tracking: "1Z-42" });
  await expectText(page.locator("#facts"), /Fulfilment Shipped Tracking 1Z-42/);
  assert.equal((await read(placed)).fulfilment, "shipped");
  // Only forward: the steps before are not offered.
  await page.getByRole("button", { name: "Fulfilment" }).click();
  assert.deepEqual(
    await dialogOf(page)
      .getByLabel("Step")
      .locator("option")
      .evaluateAll((options) => options.map(({ value }) => value)),
    ["shipped", "delivered"],
  );
  await dialogOf(page).getByRole("button", { name: "Keep as it is" }).click();

  await page.getByRole("button", { name: "Refund" }).click();
  await expectText(dialogOf(page), "Amount: €196.00.");
  const units = dialogOf(page).getByLabel(`Units of ${drop.name}`);
  await units.fill("4");
  await dialogOf(page).getByRole("button", { name: "Refund", exact: true }).click();
  await expectText(dialogOf(page), "Enter a number from 0 to 3.");
  await units.fill("2");
  await dialogOf(page).getByLabel(`Units of ${other.name}`).fill("0");
  await expectText(dialogOf(page), "Amount: €98.00.");
  await dialogOf(page).getByLabel("Offer the units again").uncheck();
  await submit(page, "Refund", { Reason: "Broken in transport" });
  await expectText(page.locator("toast-list"), "2 units refunded: €98.00.");
  await expectText(page.locator("#state"), "Partly refunded");
  await expectText(
    page.locator("#facts"),
    /Refunded €98.00, 2 units Refund €98.00 for 2 units, requested .+, returned .+ Net €98.00/,
  );
  // Without restocking the units leave the total.
  assert.deepEqual(await stockOf(drop), { total: 3, available: 2, held: 0, sold: 1 });

  await page.getByRole("button", { name: "Refund" }).click();
  await expectText(dialogOf(page), "Amount: €98.00.");
  await submit(page, "Refund", { Reason: "The rest" });
  await expectText(page.locator("#state"), "Refunded");
  assert.equal((await read(placed)).status, "refunded");
  assert.deepEqual(await stockOf(drop), { total: 3, available: 3, held: 0, sold: 0 });
  assert.equal((await stockOf(other)).sold, 0);
});

test("an order that waits is cancelled, and an unknown one is reported", async (t) => {
  const drop = await createDrop({ hold_seconds: 600 });
  const placed = await order([drop]);
  const page = await openRoom(t, `/admin/orders/${placed.id}`, { expected: [/404/] });
  await page.getByRole("button", { name: "Cancel the order" }).click();
  await expectText(dialogOf(page), "This cannot be undone.");
  await submit(page, "Cancel the order", {});
  await expectText(page.locator("#state"), "Cancelled");
  await expectText(page.locator("record-table"), "Released");
  assert.equal((await stockOf(drop)).held, 0);
  await page.goto(`${BASE}/admin/orders/${randomUUID()}`);
  await expectText(page.locator("#missing"), "Order not found");
});

test("revenue by drop and by hour is that of the purchases, net of refunds", async (t) => {
  const drop = await createDrop({ total_stock: 20, max_per_hold: 4, hold_seconds: 600 });
  await orderPaid([drop, drop, drop]);
  // A later price does not change what was paid.
  await edit(drop, { price: { amount: 9900, currency: "EUR" } });
  const { items } = await orderPaid([drop]);
  const hold = await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: 'a "quoted", buyer' });
  await api("POST", `/v1/holds/${hold.id}/purchase`);
  await api("POST", `/v1/purchases/${items[0].purchase_id}/refunds`, { reason: "Returned" });
  const page = await openRoom(t, "/admin/revenue");
  const line = page.locator("#by-drop tr", { hasText: drop.name });
  await expectText(line, /3 5 1 €345.00 €99.00 €246.00 Show$/);
  await page.locator("#of-drop").selectOption(drop.id);
  await expectText(page.locator("#totals"), "Units sold 4 and 1 unit refunded");
  await expectText(page.locator("#totals"), "€246.00 €345.00 less €99.00 refunded");
  // The purchases may be on both sides of an hour.
  const hours = page.locator("#by-hour tbody tr");
  await eventually("the hours have the same sum", async () => {
    const cells = await hours.locator("td:nth-child(7)").allInnerTexts();
    return cells.reduce((sum, text) => sum + Number(text.replace("€", "")), 0) === 246;
  });
  const [metrics] = (await api("GET", `/v1/admin/metrics?search=${encodeURIComponent(drop.name)}`))
    .drops;
  assert.deepEqual([metrics.sold, metrics.refunded], [4, 1]);
  await line.getByRole("link", { name: "Show" }).click();
  await page.waitForURL(`**/admin/orders?drop_id=${drop.id}`);
  await eventually("its orders are listed", async () => (await listed(page)).length === 2);
});

test("a buyer is found by any of their ids, with holds, waitlist, orders, purchases and history", async (t) => {
  const [drop, small] = [
    await createDrop({ hold_seconds: 600 }),
    await createDrop({ total_stock: 1, hold_seconds: 600 }),
  ];
  const [buyer, reference] = [`Straße-${randomUUID()}`, `pay-${randomUUID()}`];
  const as = { buyer_id: buyer };
  const paid = await orderPaid([drop], { ...as, payment_reference: reference });
  const bought = await api("POST", `/v1/drops/${drop.id}/holds`, as);
  const purchase = await api("POST", `/v1/holds/${bought.id}/purchase`, {
    payment_reference: "=single",
  });
  const hold = await api("POST", `/v1/drops/${drop.id}/holds`, as);
  await api("POST", `/v1/drops/${small.id}/holds`, { buyer_id: "faster" });
  const entry = await api("POST", `/v1/drops/${small.id}/waitlist`, as);
  const page = await openRoom(t, "/admin/buyers", { expected: [/404/] });
  const find = async (text) => {
    await page.getByRole("searchbox").fill(text);
    await page.keyboard.press("Enter");
    await page.locator("#progress:empty").waitFor({ state: "attached" });
  };
  for (const text of [
    buyer,
    buyer.toUpperCase(),
    paid.id,
    hold.id,
    purchase.id,
    entry.id,
    reference,
  ]) {
    await find(text);
    await expectText(page.locator("#name"), buyer);
    await expectText(page.locator("#sums"), "1 order · 2 purchases · 1 open hold · €98.00 paid");
    await row(page.locator("#holds"), hold).waitFor();
    await expectText(row(page.locator("#waitlist"), entry), /waiting .* 1/);
    await expectText(row(page.locator("#orders"), paid), "Paid");
    await expectText(row(page.locator("#purchases"), purchase), "=single");
    assert.equal(await page.locator("#purchases tbody tr").count(), 2);
    for (const words of ["Order placed", "Order paid", "Bought: 1 unit", "Joined the waitlist"])
      await expectText(page.locator("#history"), words);
  }
  await page.getByRole("button", { name: "Release" }).click();
  await expectText(page.locator("#holds"), "No open holds");
  assert.equal((await api("GET", `/v1/holds/${hold.id}`)).status, "released");

  await find(`nobody-${randomUUID()}`);
  await expectText(page.locator("#missing"), "Nothing found");
  await find(buyer);
  await page.getByRole("button", { name: "Erase this buyer" }).click();
  await expectText(dialogOf(page), "This cannot be undone.");
  await submit(page, "Erase the buyer", {});
  await expectText(page.locator("#missing"), "Nothing found");
  await find(paid.id);
  await expectText(page.locator("#missing"), "The buyer of this order was erased.");
});

test("an endpoint receives webhooks; its secret is shown once", async (t) => {
  const { received, url } = await receiver(t);
  const page = await openRoom(t, "/admin/webhooks", { expected: [/status of 422/] });
  await page.getByRole("button", { name: "New endpoint" }).click();
  await dialogOf(page).getByLabel("URL").fill("http://192.0.2.1/hook");
  await dialogOf(page).getByRole("button", { name: "Create the endpoint" }).click();
  await expectText(dialogOf(page), "Must be a public https address");
  await dialogOf(page).getByLabel("URL").fill(url);
  await dialogOf(page).getByLabel("Description").fill("Warehouse");
  await dialogOf(page).getByLabel("All, also those of later versions").uncheck();
  await dialogOf(page).getByRole("button", { name: "Create the endpoint" }).click();
  await expectText(dialogOf(page), "Choose at least one type.");
  await dialogOf(page).getByLabel("hold.placed").check();
  await dialogOf(page).getByRole("button", { name: "Create the endpoint" }).click();
  const secret = await page.getByLabel("Secret", { exact: true }).inputValue();
  assert.match(secret, /^whsec_/);
  await page.getByRole("button", { name: "I have stored it" }).click();
  await dialogOf(page).waitFor({ state: "detached" });
  const [endpoint] = (await api("GET", "/v1/admin/webhooks")).data;
  assert.deepEqual([endpoint.url, endpoint.event_types], [url, ["hold.placed"]]);
  assert.ok(!(await page.content()).includes(secret), "the page keeps no secret");
  const line = row(page, endpoint);
  await expectText(line, /Warehouse .*Enabled 1 type/);

  await line.getByRole("button", { name: "Test" }).click();
  await eventually("the test arrives", () =>
    received.some(({ body }) => body.type === "webhook.test"),
  );
  const drop = await createDrop();
  const holds = () => received.filter(({ body }) => body.type === "hold.placed").length;
  const hold = await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "a buyer" });
  await eventually("the hold arrives", () => holds() === 1);
  await expectText(page.locator("#deliveries"), /hold.placed Delivered/);
  await page.locator("#status").selectOption("failed");
  await expectText(page.locator("#deliveries"), "No matching deliveries.");
  await page.locator("#status").selectOption("done");
  await page
    .locator("#deliveries tr", { hasText: "hold.placed" })
    .getByRole("button", { name: /^Send again/ })
    .click();
  await eventually("it arrives again", () => holds() === 2);
  await line.getByRole("button", { name: "Replay" }).click();
  await submit(page, "Deliver again", { "After the log position": String(hold.position - 1) });
  await eventually("it arrives a third time", () => holds() === 3);
  assert.equal(
    new Set(
      received
        .filter(({ body }) => body.type === "hold.placed")
        .map(({ headers }) => headers["webhook-id"]),
    ).size,
    1,
    "with the same id",
  );

  await line.getByRole("button", { name: "Edit" }).click();
  await dialogOf(page).getByLabel("hold.released").check();
  await submit(page, "Save", { Description: "Shelf" });
  await expectText(line, /Shelf .*2 types/);
  await line.getByRole("button", { name: "Disable" }).click();
  await expectText(line, "Disabled");
  await line.getByRole("button", { name: "Enable" }).click();
  await expectText(line, "Enabled");
  await line.getByRole("button", { name: "New secret" }).click();
  await dialogOf(page).getByRole("button", { name: "Create a new secret" }).click();
  const rotated = await page.getByLabel("Secret", { exact: true }).inputValue();
  assert.match(rotated, /^whsec_/);
  assert.notEqual(rotated, secret);
  await expectText(page.getByRole("dialog").last(), "The earlier secret signs as well until");
  await page.getByRole("button", { name: "I have stored it" }).click();
  await dialogOf(page).waitFor({ state: "detached" });
  await line.getByRole("button", { name: "Delete" }).click();
  await submit(page, "Delete the endpoint", {});
  await expectText(page.locator("#endpoints"), "No endpoints yet.");
  assert.deepEqual((await api("GET", "/v1/admin/webhooks")).data, []);
});

test("jobs are retried and cancelled, and a receiver that is gone needs attention", async (t) => {
  let status = 500;
  const { received, url } = await receiver(t, () => status);
  const endpoint = await api("POST", "/v1/admin/webhooks", { url, event_types: ["hold.placed"] });
  t.after(() => api("DELETE", `/v1/admin/webhooks/${endpoint.id}`));
  const drop = await createDrop();
  const other = await createDrop();
  await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "a buyer" });
  const page = await openRoom(t, "/admin/attention");
  await expectText(page.locator("#matters"), "Nothing needs attention.");
  const jobs = page.locator("#jobs tbody tr");
  await expectText(jobs, /Webhook Pending Endpoint .* 500/);
  const before = received.length;
  status = 204;
  await jobs.getByRole("button", { name: /^Retry/ }).click();
  await eventually("the webhook is sent again", () => received.length === before + 1);
  await expectText(jobs, /Done/);

  status = 500;
  await api("POST", `/v1/drops/${other.id}/holds`, { buyer_id: "a buyer" });
  await page.locator("#status").selectOption("pending");
  await expectText(jobs, /Webhook Pending Endpoint .* 500/);
  await jobs.getByRole("button", { name: /^Cancel/ }).click();
  await expectText(page.locator("#jobs"), "No matching jobs.");
  await page.locator("#status").selectOption("");
  await expectText(page.locator("#jobs"), "Cancelled");

  // The receiver is gone.
  status = 410;
  const dashboard = await openDashboard(t);
  await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "another" });
  await expectText(page.locator("#matters"), "Webhook endpoint");
  await dashboard.reload();
  await expectText(dashboard.locator("#open-matters"), /^[1-9]/);
  await page
    .locator("#matters tr", { hasText: "Webhook endpoint" })
    .getByRole("link", { name: /^Endpoint/ })
    .click();
  await page.waitForURL(`**/admin/webhooks?endpoint=${endpoint.id}`);
  await expectText(row(page, endpoint), /Disabled receiver is gone/);
});

test("a refund that failed is cancelled after a confirmation that says where the money is", async (t) => {
  const drop = await createDrop();
  const order = await api("POST", "/v1/orders", {
    buyer_id: "a buyer",
    items: [{ drop_id: drop.id }],
  });
  await api("POST", `/v1/orders/${order.id}/payments`, { scenario: "refund_fails" });
  await eventually("the order is paid", async () => {
    return (await api("GET", `/v1/orders/${order.id}`)).status === "paid";
  });
  await api("POST", `/v1/orders/${order.id}/refunds`, { reason: "sent back" });
  const page = await openRoom(t, "/admin/attention");
  const matter = page.locator("#matters tr", { hasText: `Order ${order.id.slice(0, 8)}` });
  await expectText(matter, /was not returned/);
  await matter.getByRole("button", { name: /^Cancel/ }).click();
  await expectText(dialogOf(page), /money stays with the shop.*A retry returns it.*leaves "Open/s);
  await dialogOf(page).getByRole("button", { name: "Keep the job" }).click();
  await matter.getByRole("button", { name: /^Cancel/ }).click();
  await dialogOf(page).getByRole("button", { name: "Cancel the job" }).click();
  await matter.waitFor({ state: "detached" });
  await expectText(page.locator("toast-list"), /stays with the shop/);
  const shown = await openRoom(t, `/admin/orders/${order.id}`);
  await expectText(shown.locator("#facts"), /Refund.*for 1 unit, requested .*, not returned yet/);
  const receipt = await open(t, `/orders/${order.id}`);
  await expectText(receipt.locator("order-sheet"), /for 1 unit, requested .*, not returned yet/);
});

test("the rooms need a session, and lead to the sign-in page without one", async (t) => {
  const page = await openRoom(t, "/admin/orders");
  await page.getByRole("link", { name: "Webhooks" }).click();
  await expectText(page.locator("h1"), "Webhooks");
  assert.equal(
    await page.getByRole("link", { name: "Webhooks" }).getAttribute("aria-current"),
    "page",
  );
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Admin key").waitFor();
  assert.equal(new URL(page.url()).pathname, "/admin/webhooks");
  for (const path of ["orders", `orders/${randomUUID()}`, "revenue", "buyers", "attention"]) {
    const html = await (await fetch(`${BASE}/admin/${path}`)).text();
    assert.ok(html.includes('id="sign-in"'), path);
  }
  assert.equal((await fetch(`${BASE}/admin/nonsense`)).status, 404);
});
