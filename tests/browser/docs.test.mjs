// The API reference: complete, linkable, accessible by keyboard, and correct.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import {
  ADMIN_KEY,
  BASE,
  api,
  close,
  context,
  createDrop,
  eventually,
  expectText,
  launch,
  open,
  scheduleDrop,
} from "./lib.mjs";

before(async () => {
  await launch();
  // The commands use the newest drop, so it must be on sale.
  await scheduleDrop();
});
after(close);

async function reference(t, hash = "") {
  const page = await open(t, `/docs${hash}`);
  await page.locator("#schema-Drop").waitFor();
  return page;
}

test("every operation of the document is shown, and every link has a target", async (t) => {
  const page = await reference(t);
  const document = await (await fetch(`${BASE}/openapi.json`)).json();
  const described = Object.values(document.paths).flatMap((item) =>
    Object.values(item).map(({ operationId }) => operationId),
  );
  const shown = await page.locator("api-operation").evaluateAll((all) => all.map(({ id }) => id));
  assert.deepEqual(shown.sort(), described.sort());
  const broken = await page
    .locator('a[href^="#"]')
    .evaluateAll((all) =>
      all
        .map((link) => link.getAttribute("href"))
        .filter((to) => !document.getElementById(to.slice(1))),
    );
  assert.deepEqual(broken, []);
  const ids = await page.locator("[id]").evaluateAll((all) => all.map(({ id }) => id));
  assert.equal(new Set(ids).size, ids.length);
});

test("an operation shows its parameters, responses and errors", async (t) => {
  const page = await reference(t);
  const text = await page.locator("#placeHold").innerText();
  for (const words of [
    "POST",
    "/v1/drops/{id}/holds",
    "Idempotency-Key",
    "buyer_id",
    "201",
    "sold_out",
    "retry_after",
    "Location",
  ]) {
    assert.ok(text.includes(words), `${words} is not in ${text}`);
  }
});

test("a link with a fragment scrolls to its target", async (t) => {
  const page = await reference(t, "#purchaseHold");
  await page.locator("#purchaseHold:target").waitFor();
  const top = await page
    .locator("#purchaseHold")
    .evaluate((element) => element.getBoundingClientRect().top);
  assert.ok(top >= 0 && top < 400, `${top}`);
});

test("each command has its own key, and none cancels an existing drop", async (t) => {
  const page = await reference(t);
  const lines = await page.locator("api-operation pre:last-of-type").allInnerTexts();
  const keys = lines.flatMap((line) => /Idempotency-Key: ([^']+)/.exec(line)?.[1] ?? []);
  assert.ok(keys.length >= 4, `${keys}`);
  assert.equal(new Set(keys).size, keys.length);
  assert.match(
    await page.locator("#cancelDrop pre").last().innerText(),
    /\/v1\/drops\/DROP_ID\/cancel/,
  );
});

test("on a phone the contents are folded initially", async (t) => {
  const page = await open(t, "/docs", { viewport: { width: 390, height: 844 } });
  await page.locator("#schema-Drop").waitFor();
  assert.ok(
    await page
      .getByRole("heading", { name: "API reference" })
      .evaluate((heading) => heading.getBoundingClientRect().bottom < innerHeight),
  );
  const link = page
    .getByRole("navigation", { name: "Contents" })
    .getByRole("link", { name: "Purchase a hold" });
  assert.equal(await link.isVisible(), false);
  await page.getByText("Contents", { exact: true }).click();
  await link.click();
  await page.locator("#purchaseHold:target").waitFor();
  await eventually("the target is visible", () =>
    page
      .locator("#purchaseHold")
      .evaluate((element) => Math.abs(element.getBoundingClientRect().top) < 200),
  );
  assert.equal(await link.isVisible(), false);
});

test("defaults of fields and parameters are shown", async (t) => {
  const page = await reference(t);
  for (const [id, name, words] of [
    ["placeHold", "quantity", "default 1"],
    ["createDrop", "hold_seconds", "default 60"],
    ["createDrop", "max_per_hold", "default 1"],
    ["joinWaitlist", "quantity", "default 1"],
    ["listDrops", "limit", "default 100"],
    ["listPurchasers", "limit", "default 3"],
    ["listPurchasers", "order", 'default "units"'],
    ["listEvents", "after", "default 0"],
    ["readTimeline", "window", 'default "1h"'],
    ["schema-NewHold", "quantity", "default 1"],
  ]) {
    const row = page
      .locator(`#${id} dl.members > div`)
      .filter({ has: page.locator("dt code", { hasText: new RegExp(`^${name}$`) }) });
    assert.ok(
      (await row.first().innerText()).includes(words),
      `${id} ${name}: ${await row.first().innerText()}`,
    );
  }
  // The page contains every default of the document.
  const text = JSON.stringify(await (await fetch(`${BASE}/openapi.json`)).json());
  const count = text.match(/"(x-)?default":/g).length;
  assert.ok(
    (await page.locator("#reference").innerText()).match(/, default /g).length >= count,
    `${count}`,
  );
  assert.ok(
    (await page.locator("#schema-DropStatus").innerText()).includes(
      "Live, with nothing available.",
    ),
  );
});

test("a command uses a drop on sale, is fully visible, and can be copied", async (t) => {
  const sold = await createDrop({ total_stock: 1, max_per_hold: 1 });
  await api("POST", `/v1/drops/${sold.id}/holds`, { buyer_id: "another" });
  await createDrop({ starts_at: "2100-01-01T00:00:00Z" });
  const over = await createDrop();
  await api("POST", `/v1/drops/${over.id}/cancel`);
  for (const viewport of [
    { width: 1280, height: 900 },
    { width: 360, height: 740 },
  ]) {
    const within = await context(t, {
      viewport,
      permissions: ["clipboard-read", "clipboard-write"],
    });
    const page = await open(t, "/docs", { within });
    await page.locator("#schema-Drop").waitFor();
    const line = page.locator("#placeHold pre.line");
    const id = /drops\/([0-9a-f-]{36})\/holds/.exec(await line.innerText())?.[1];
    assert.equal((await api("GET", `/v1/drops/${id}`)).status, "live");
    const waiting = await page.locator("#joinWaitlist pre.line").innerText();
    assert.ok(waiting.includes(sold.id), waiting);
    const cut = await page
      .locator("pre.line")
      .evaluateAll((all) =>
        all
          .filter((one) => one.scrollWidth > one.clientWidth || one.scrollHeight > one.clientHeight)
          .map((one) => one.textContent),
      );
    assert.deepEqual(cut, []);
    await page.getByRole("button", { name: "Copy the curl for Hold units of a drop" }).click();
    await expectText(page.locator("#placeHold .copy"), "Copied");
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), await line.innerText());
  }
});

test("an unknown path returns a page", async (t) => {
  const page = await open(t, "/nonsense", { expected: [/404/] });
  await page.getByRole("heading", { name: "Page not found" }).waitFor();
  await page.getByRole("link", { name: "all drops" }).click();
  await page.waitForURL(`${BASE}/`);
});

test("the commands run without changes", async (t) => {
  const page = await reference(t);
  const env = { ...process.env, HOLDFAST_ADMIN_KEY: ADMIN_KEY };
  for (const id of [
    "listDrops",
    "readDrop",
    "createDrop",
    "editDrop",
    "adjustStock",
    "placeHold",
    "listPurchasers",
    "readBuyer",
    "readMetrics",
    "readTimeline",
    "isAlive",
    "isReady",
    "readDocument",
  ]) {
    const line = await page.locator(`#${id} pre`).last().innerText();
    const { stdout } = await promisify(execFile)(
      "sh",
      ["-c", `${line} -o /dev/null -w '%{http_code}'`],
      { env },
    );
    assert.match(stdout, /^20[01]$/, line);
  }
});
