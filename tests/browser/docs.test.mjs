// The API reference: complete, linkable, searchable, accessible by keyboard, and correct.

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

/** Opens a page of the reference, and waits until its script has run. */
async function reference(t, path = "", options = {}) {
  const page = await open(t, `/docs${path}`, options);
  await page.locator("#search:not([hidden])").waitFor();
  return page;
}

/** The text of a sample, when the address and the ids of this server are in it. */
async function sample(page, operation, language = "curl") {
  const shown = page.locator(`#${operation} [data-language="${language}"] pre`);
  await expectText(shown, BASE);
  await page.locator('var[data-name="origin"]', { hasText: "localhost:8080" }).waitFor({
    state: "detached",
  });
  return shown.textContent();
}

test("an operation shows its parameters, responses and errors", async (t) => {
  const page = await reference(t, "/holds-and-purchases");
  const text = await page.locator("#placeHold").innerText();
  for (const words of [
    "POST",
    "/v1/drops/{id}/holds",
    "Idempotency-Key",
    "buyer_id",
    "1 to 128 characters",
    "201",
    "sold_out",
    "retry_after",
  ]) {
    assert.ok(text.includes(words), `${words} is not in ${text}`);
  }
  await page.locator("#placeHold").getByRole("link", { name: "sold_out" }).click();
  await page.waitForURL(`${BASE}/problems/sold_out`);
  await page.getByRole("heading", { name: "What to do" }).waitFor();
  await page.getByRole("link", { name: "Hold units of a drop" }).click();
  await page.locator("#placeHold:target").waitFor();
});

test("the pages are complete without scripts", async (t) => {
  const within = await context(t, { javaScriptEnabled: false });
  const page = await open(t, "/docs", { within });
  await page
    .getByRole("region", { name: "Holds and purchases" })
    .getByRole("link", { name: "Purchase a hold" })
    .click();
  await page.waitForURL(`${BASE}/docs/holds-and-purchases#purchaseHold`);
  const operation = page.locator("#purchaseHold");
  assert.ok((await operation.innerText()).includes("hold_expired"));
  assert.equal(await page.locator("#search").isVisible(), false);
  const python = operation.locator('[data-language="Python"]');
  assert.equal(await python.locator("pre").isVisible(), false);
  await python.locator("summary").click();
  await expectText(python.locator("pre"), "urlopen(request)");
});

test("a link with a fragment scrolls to its target, also one to the former single page", async (t) => {
  for (const path of ["/holds-and-purchases#purchaseHold", "#purchaseHold"]) {
    const page = await open(t, `/docs${path}`);
    await page.locator("#purchaseHold:target").waitFor();
    await eventually("the target is visible", () =>
      page
        .locator("#purchaseHold")
        .evaluate((element) => Math.abs(element.getBoundingClientRect().top) < 400),
    );
  }
});

test("search finds operations, problems, members and headings, by keyboard", async (t) => {
  const page = await reference(t);
  await page.keyboard.press("/");
  await page.keyboard.type("throttled");
  await page.locator("#found a", { hasText: "Problem 429" }).waitFor();
  for (const [query, title] of [
    ["low_stock", "Schedule a drop"],
    ["Idempotency-Key", "Hold units of a drop"],
    ["retries", "Retries"],
    ["GET /v1/orders", "orders"],
  ]) {
    await page.fill("#query", query);
    await page
      .locator("#found a", { hasText: new RegExp(title, "i") })
      .first()
      .waitFor();
  }
  await page.fill("#query", "no such words");
  await expectText(page.locator("#count"), "0 results");
  await page.fill("#query", "purchase a hold");
  await page.locator("#found a", { hasText: "Purchase a hold" }).first().waitFor();
  await page.keyboard.press("Enter");
  await page.locator("#purchaseHold:target").waitFor();
});

test("the language of samples is kept on other pages", async (t) => {
  const page = await reference(t, "/drops");
  await page.locator('#createDrop [data-language="Python"] summary').click();
  await page.goto(`${BASE}/docs/waitlist`);
  await page.locator('#joinWaitlist [data-language="Python"][open]').waitFor();
  assert.equal(await page.locator('#joinWaitlist [data-language="curl"][open]').count(), 0);
});

test("each command has its own key, and none cancels an existing drop", async (t) => {
  const page = await reference(t, "/drops");
  await sample(page, "createDrop");
  const lines = await page.locator('[data-language="curl"] pre').allTextContents();
  const keys = lines.flatMap((line) => /Idempotency-Key: ([^']+)/.exec(line)?.[1] ?? []);
  assert.ok(keys.length >= 2, `${keys}`);
  assert.equal(new Set(keys).size, keys.length);
  assert.match(await sample(page, "cancelDrop"), /\/v1\/drops\/DROP_ID\/cancel/);
});

test("on a phone the contents are folded initially", async (t) => {
  const page = await reference(t, "/holds-and-purchases", {
    viewport: { width: 390, height: 844 },
  });
  assert.ok(
    await page
      .getByRole("heading", { name: "Holds and purchases", level: 1 })
      .evaluate((heading) => heading.getBoundingClientRect().bottom < innerHeight),
  );
  const link = page
    .getByRole("navigation", { name: "Contents" })
    .getByRole("link", { name: "Purchase a hold" });
  assert.equal(await link.isVisible(), false);
  await page.getByText("Contents", { exact: true }).click();
  await link.click();
  await page.locator("#purchaseHold:target").waitFor();
  assert.equal(await link.isVisible(), false);
});

test("bounds and defaults of fields and parameters are shown", async (t) => {
  const page = await reference(t);
  for (const [path, id, name, words] of [
    ["holds-and-purchases", "placeHold", "quantity", "1 to 1000 or null, default 1"],
    ["drops", "createDrop", "hold_seconds", "1 to 3600 or null, default 60"],
    ["drops", "createDrop", "max_per_hold", "default 1"],
    ["waitlist", "joinWaitlist", "quantity", "default 1"],
    ["drops", "listDrops", "limit", "1 to 100, default 100"],
    ["drops", "listPurchasers", "limit", "default 3"],
    ["drops", "listPurchasers", "order", 'default "units"'],
    ["log", "listEvents", "after", "default 0"],
    ["admin", "readTimeline", "window", 'default "1h"'],
    ["schemas", "schema-NewHold", "quantity", "default 1"],
  ]) {
    const at = `${BASE}/docs/${path}`;
    if (page.url() !== at) await page.goto(at);
    const row = page
      .locator(`#${id} dl.members > div`)
      .filter({ has: page.locator("dt code", { hasText: new RegExp(`^${name}$`) }) });
    const text = await row.first().innerText();
    assert.ok(text.includes(words), `${id} ${name}: ${text}`);
  }
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
    const permissions = ["clipboard-read", "clipboard-write"];
    const within = await context(t, { viewport, permissions });
    const page = await reference(t, "/waitlist", { within });
    await expectText(page.locator('#joinWaitlist [data-language="curl"] pre'), sold.id);
    await page.goto(`${BASE}/docs/holds-and-purchases`);
    const shown = page.locator('#placeHold [data-language="curl"] pre');
    await eventually("the id of a drop is filled in", async () =>
      /drops\/[0-9a-f-]{36}\/holds/.test(await shown.textContent()),
    );
    const text = await shown.textContent();
    const id = /drops\/([0-9a-f-]{36})\/holds/.exec(text)?.[1];
    assert.equal((await api("GET", `/v1/drops/${id}`)).status, "live");
    const cut = await page
      .locator(".sample[open] pre")
      .evaluateAll((all) =>
        all
          .filter((one) => one.scrollWidth > one.clientWidth || one.scrollHeight > one.clientHeight)
          .map((one) => one.textContent),
      );
    assert.deepEqual(cut, []);
    await page.getByRole("button", { name: "Copy: curl for Hold units of a drop" }).click();
    await expectText(page.locator("#placeHold .copy").filter({ hasText: "Copied" }), "Copied");
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), text);
  }
});

test("printed pages have neither contents nor buttons", async (t) => {
  const page = await reference(t, "/drops");
  await page.emulateMedia({ media: "print" });
  for (const part of [".aside", ".top", "#createDrop .copy >> nth=0"])
    assert.equal(await page.locator(part).isVisible(), false, part);
  assert.ok(await page.locator("#createDrop pre").first().isVisible());
});

test("an unknown path returns a page", async (t) => {
  for (const path of ["/nonsense", "/docs/nonsense"]) {
    const page = await open(t, path, { expected: [/404/] });
    await page.getByRole("heading", { name: "Page not found" }).waitFor();
    await page.getByRole("link", { name: "all drops" }).click();
    await page.waitForURL(`${BASE}/`);
  }
});

test("the commands run without changes", async (t) => {
  const env = { ...process.env, HOLDFAST_ADMIN_KEY: ADMIN_KEY };
  for (const [path, ids] of [
    ["drops", ["listDrops", "readDrop", "createDrop", "editDrop", "adjustStock", "listPurchasers"]],
    ["holds-and-purchases", ["placeHold"]],
    ["admin", ["readMetrics", "readTimeline"]],
    ["health", ["isAlive", "isReady", "readDocument"]],
  ]) {
    const page = await reference(t, `/${path}`);
    for (const id of ids) {
      await sample(page, id);
      await eventually("the id of a drop is filled in", async () => {
        const texts = await page.locator('var[data-name="drop_id"]').allTextContents();
        return texts.length === 0 || texts.some((text) => text !== "DROP_ID");
      });
      const line = await sample(page, id);
      const { stdout } = await promisify(execFile)(
        "sh",
        ["-c", `${line} -o /dev/null -w '%{http_code}'`],
        { env },
      );
      assert.match(stdout, /^20[01]$/, line);
    }
  }
});
