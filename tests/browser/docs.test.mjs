// The API reference: complete, to be linked into, to be used by keyboard, and true.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { ADMIN_KEY, BASE, api, close, context, createDrop, eventually, launch, open, says, scheduleDrop } from "./lib.mjs";

before(async () => {
  await launch();
  // The newest drop is the one to try, so it must be on.
  await scheduleDrop();
});
after(close);

async function reference(t, hash = "") {
  const page = await open(t, `/docs${hash}`);
  await page.locator("#schema-Drop").waitFor();
  return page;
}

test("every operation of the document is there, and every link leads somewhere", async (t) => {
  const page = await reference(t);
  const document = await (await fetch(`${BASE}/openapi.json`)).json();
  const described = Object.values(document.paths).flatMap((item) => Object.values(item).map(({ operationId }) => operationId));
  const shown = await page.locator("api-operation").evaluateAll((all) => all.map(({ id }) => id));
  assert.deepEqual(shown.sort(), described.sort());
  const lost = await page.locator('a[href^="#"]').evaluateAll((all) => all.map((link) => link.getAttribute("href")).filter((to) => !document.getElementById(to.slice(1))));
  assert.deepEqual(lost, []);
  const ids = await page.locator("[id]").evaluateAll((all) => all.map(({ id }) => id));
  assert.equal(new Set(ids).size, ids.length);
});

test("an operation tells what it takes, what it answers and what can go wrong", async (t) => {
  const page = await reference(t);
  const text = await page.locator("#placeHold").innerText();
  for (const words of ["POST", "/v1/drops/{id}/holds", "Idempotency-Key", "buyer_id", "201", "sold_out", "retry_after", "Location"]) {
    assert.ok(text.includes(words), `${words} is not in ${text}`);
  }
});

test("a link into the page goes there", async (t) => {
  const page = await reference(t, "#purchaseHold");
  await page.locator("#purchaseHold:target").waitFor();
  const top = await page.locator("#purchaseHold").evaluate((element) => element.getBoundingClientRect().top);
  assert.ok(top >= 0 && top < 400, `${top}`);
});

test("each line has a key of its own, and none ends a drop that is there", async (t) => {
  const page = await reference(t);
  const lines = await page.locator("api-operation pre:last-of-type").allInnerTexts();
  const keys = lines.flatMap((line) => /Idempotency-Key: ([^']+)/.exec(line)?.[1] ?? []);
  assert.ok(keys.length >= 4, `${keys}`);
  assert.equal(new Set(keys).size, keys.length);
  assert.match(await page.locator("#cancelDrop pre").last().innerText(), /\/v1\/drops\/DROP_ID\/cancel/);
});

test("on a phone the contents are folded until they are asked for", async (t) => {
  const page = await open(t, "/docs", { viewport: { width: 390, height: 844 } });
  await page.locator("#schema-Drop").waitFor();
  assert.ok(await page.getByRole("heading", { name: "API reference" }).evaluate((heading) => heading.getBoundingClientRect().bottom < innerHeight));
  const link = page.getByRole("navigation", { name: "Contents" }).getByRole("link", { name: "Buy what is held" });
  assert.equal(await link.isVisible(), false);
  await page.getByText("Contents", { exact: true }).click();
  await link.click();
  await page.locator("#purchaseHold:target").waitFor();
  await eventually("it is in sight", () => page.locator("#purchaseHold").evaluate((element) => Math.abs(element.getBoundingClientRect().top) < 200));
  assert.equal(await link.isVisible(), false);
});

test("what counts where nothing is said is shown, of fields and of parameters", async (t) => {
  const page = await reference(t);
  for (const [id, name, words] of [
    ["placeHold", "quantity", "default 1"], ["createDrop", "hold_seconds", "default 60"], ["createDrop", "max_per_hold", "default 1"],
    ["joinWaitlist", "quantity", "default 1"], ["listDrops", "limit", "default 100"], ["listPurchasers", "limit", "default 3"],
    ["listPurchasers", "order", 'default "units"'], ["listEvents", "after", "default 0"], ["readTimeline", "window", 'default "1h"'], ["schema-NewHold", "quantity", "default 1"],
  ]) {
    const row = page.locator(`#${id} dl.members > div`).filter({ has: page.locator("dt code", { hasText: new RegExp(`^${name}$`) }) });
    assert.ok((await row.first().innerText()).includes(words), `${id} ${name}: ${await row.first().innerText()}`);
  }
  // Every default of the document is somewhere on the page.
  const text = JSON.stringify(await (await fetch(`${BASE}/openapi.json`)).json());
  const count = text.match(/"(x-)?default":/g).length;
  assert.ok((await page.locator("#reference").innerText()).match(/, default /g).length >= count, `${count}`);
  assert.ok((await page.locator("#schema-DropStatus").innerText()).includes("Live, with nothing available."));
});

test("a line to try uses a drop that is on sale, is in sight to its end and is copied by a press", async (t) => {
  const sold = await createDrop({ total_stock: 1, max_per_hold: 1 });
  await api("POST", `/v1/drops/${sold.id}/holds`, { buyer_id: "all of it" });
  await createDrop({ starts_at: "2100-01-01T00:00:00Z" });
  const over = await createDrop();
  await api("POST", `/v1/drops/${over.id}/cancel`);
  for (const viewport of [{ width: 1280, height: 900 }, { width: 360, height: 740 }]) {
    const within = await context(t, { viewport, permissions: ["clipboard-read", "clipboard-write"] });
    const page = await open(t, "/docs", { within });
    await page.locator("#schema-Drop").waitFor();
    const line = page.locator("#placeHold pre.line");
    const id = /drops\/([0-9a-f-]{36})\/holds/.exec(await line.innerText())?.[1];
    assert.equal((await api("GET", `/v1/drops/${id}`)).status, "live");
    const waiting = await page.locator("#joinWaitlist pre.line").innerText();
    assert.ok(waiting.includes(sold.id), waiting);
    const cut = await page.locator("pre.line").evaluateAll((all) => all.filter((one) => one.scrollWidth > one.clientWidth || one.scrollHeight > one.clientHeight).map((one) => one.textContent));
    assert.deepEqual(cut, []);
    await page.getByRole("button", { name: "Copy the curl for Hold units of a drop" }).click();
    await says(page.locator("#placeHold .copy"), "Copied");
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), await line.innerText());
  }
});

test("a path that leads nowhere is a page", async (t) => {
  const page = await open(t, "/nonsense", { expected: [/404/] });
  await page.getByRole("heading", { name: "Page not found" }).waitFor();
  await page.getByRole("link", { name: "All drops" }).click();
  await page.waitForURL(`${BASE}/`);
});

test("the lines to try run as they stand", async (t) => {
  const page = await reference(t);
  const env = { ...process.env, HOLDFAST_ADMIN_KEY: ADMIN_KEY };
  for (const id of ["listDrops", "readDrop", "createDrop", "editDrop", "adjustStock", "placeHold", "listPurchasers", "readBuyer", "readMetrics", "readTimeline", "isAlive", "isReady", "readDocument"]) {
    const line = await page.locator(`#${id} pre`).last().innerText();
    const { stdout } = await promisify(execFile)("sh", ["-c", `${line} -o /dev/null -w '%{http_code}'`], { env });
    assert.match(stdout, /^20[01]$/, line);
  }
});
