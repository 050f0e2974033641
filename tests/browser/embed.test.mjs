// Pages of another origin in a browser: a listed one uses the API, others are refused; and the
// element <holdfast-drop>.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { AxeBuilder } from "@axe-core/playwright";
import {
  ADMIN_KEY,
  BASE,
  LOOKS,
  OTHER_SITE,
  OUT,
  api,
  close,
  context,
  createDrop,
  eventually,
  expectText,
  launch,
  open,
} from "./lib.mjs";

before(async () => {
  await mkdir(OUT, { recursive: true });
  await launch();
});
after(close);

/** The same site by its address: an origin that the server does not list. */
const UNLISTED = OTHER_SITE.replace("localhost", "127.0.0.1");

/** Opens a page of another site with this markup in its body. */
async function openSite(t, body, { origin = OTHER_SITE, ...options } = {}) {
  const page = await open(t, "about:blank", { origins: [BASE, origin], ...options });
  // The element reports to the page by events.
  await page.addInitScript(() => {
    window.reports = [];
    for (const name of ["held", "purchased", "released", "expired", "joined", "left", "error"])
      document.addEventListener(`holdfast:${name}`, ({ detail }) =>
        window.reports.push([name, detail]),
      );
  });
  await page.goto(`${origin}/?body=${encodeURIComponent(body)}`);
  return page;
}

const element = (drop, more = 'buyer-id="ann"') =>
  `<holdfast-drop drop-id="${drop.id}" ${more}></holdfast-drop>`;
const stock = async (drop) => (await api("GET", `/v1/drops/${drop.id}`)).stock;
const reports = (page) => page.evaluate(() => window.reports);
const button = (page, name) => page.getByRole("button", { name });

test("a listed origin holds, reads problems, follows the stream and purchases", async (t) => {
  const drop = await createDrop({ total_stock: 1 });
  const expected = [/status of (404|409)/];
  const page = await openSite(t, "", { expected });
  const seen = await page.evaluate(
    async ([base, id]) => {
      const source = new EventSource(`${base}/v1/stream?drops=${id}`);
      const states = [];
      source.addEventListener("drop", ({ data }) => states.push(JSON.parse(data).stock));
      const state = async (matches) => {
        while (!states.some(matches)) await new Promise((resolve) => setTimeout(resolve, 20));
      };
      const post = (path, body, headers = {}) =>
        fetch(base + path, { method: "POST", headers, body: JSON.stringify(body) });
      const hold = (buyer_id) =>
        post(
          `/v1/drops/${id}/holds`,
          { buyer_id },
          { "Content-Type": "application/json", "Idempotency-Key": buyer_id },
        );
      await state(({ available }) => available === 1);
      const held = await hold("ann");
      const { id: holdId } = await held.json();
      await state(({ held }) => held === 1);
      const refused = await hold("ben");
      const { code } = await refused.json();
      const absent = await fetch(`${base}/v1/holds/${id}`);
      const bought = await fetch(`${base}/v1/holds/${holdId}/purchase`, { method: "POST" });
      await state(({ sold }) => sold === 1);
      source.close();
      return {
        location: held.headers.get("location") === `/v1/holds/${holdId}`,
        position: Number(held.headers.get("holdfast-position")) > 0,
        statuses: [held.status, refused.status, absent.status, bought.status],
        codes: [code, (await absent.json()).code],
      };
    },
    [BASE, drop.id],
  );
  assert.deepEqual(seen, {
    location: true,
    position: true,
    statuses: [201, 409, 404, 201],
    codes: ["sold_out", "hold_not_found"],
  });
  assert.equal((await stock(drop)).sold, 1);
});

test("an unlisted origin reads nothing, holds nothing and gets no element", async (t) => {
  const drop = await createDrop();
  const expected = [/CORS|ERR_FAILED|status of 405/];
  const page = await openSite(t, element(drop), { origin: UNLISTED, expected });
  const seen = await page.evaluate(
    async ([base, id]) => {
      const outcome = (sent) => sent.then(({ status }) => status).catch(({ name }) => name);
      const source = new EventSource(`${base}/v1/stream?drops=${id}`);
      const stream = await new Promise((resolve) => {
        source.addEventListener("drop", () => resolve("read"));
        source.addEventListener("error", () => resolve("refused"));
      });
      const headers = { "Content-Type": "application/json", "Idempotency-Key": "one" };
      const hold = { method: "POST", headers, body: JSON.stringify({ buyer_id: "ann" }) };
      return {
        stream,
        read: await outcome(fetch(`${base}/v1/drops/${id}`)),
        hold: await outcome(fetch(`${base}/v1/drops/${id}/holds`, hold)),
        element: await outcome(import(`${base}/embed.js`)),
        defined: customElements.get("holdfast-drop") !== undefined,
      };
    },
    [BASE, drop.id],
  );
  const refused = "TypeError";
  assert.deepEqual(seen, {
    stream: "refused",
    read: refused,
    hold: refused,
    element: refused,
    defined: false,
  });
  assert.equal((await stock(drop)).held, 0);
});

test("the session of an administrator is useless to both", async (t) => {
  const within = await context(t);
  const dashboard = await open(t, "/admin", { within });
  await dashboard.fill("#key", ADMIN_KEY);
  await dashboard.getByRole("button", { name: "Sign in" }).click();
  await dashboard.locator("metric-tiles").waitFor();
  for (const origin of [OTHER_SITE, UNLISTED]) {
    const page = await openSite(t, "", {
      within,
      origin,
      expected: [/CORS|ERR_FAILED|ERR_BLOCKED_BY_RESPONSE|status of 40[135]/],
    });
    const outcomes = await page.evaluate(async (base) => {
      const send = (path, options) =>
        fetch(base + path, { credentials: "include", ...options })
          .then(({ status }) => status)
          .catch(({ name }) => name);
      return [
        await send("/v1/admin/metrics"),
        await send("/v1/admin/session", { method: "DELETE" }),
        // Sent without a preflight request.
        await send("/v1/admin/session", { method: "POST", mode: "no-cors" }),
      ];
    }, BASE);
    assert.deepEqual(outcomes, ["TypeError", "TypeError", "TypeError"], origin);
  }
  await dashboard.reload();
  await dashboard.locator("metric-tiles").waitFor();
});

test("the element shows live stock, holds, counts down and purchases", async (t) => {
  const drop = await createDrop({ max_per_hold: 2, hold_seconds: 600 });
  const page = await openSite(t, element(drop));
  await expectText(page.locator("holdfast-drop .name"), drop.name);
  await expectText(page.locator("holdfast-drop .stock"), "5 of 5 left");
  await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "another" });
  await expectText(page.locator("holdfast-drop .stock"), "4 of 5 left");
  await page.getByLabel("Quantity").fill("2");
  await button(page, "Hold it").click();
  await expectText(page.locator("holdfast-drop .countdown"), /Reserved for you: (10:00|9:\d\d)/);
  await expectText(page.locator("holdfast-drop .message"), "2 units are reserved for you.");
  await page.locator('holdfast-drop button:not([aria-disabled]):has-text("Buy")').waitFor();
  await button(page, "Buy for €98.00").click();
  await expectText(page.locator("holdfast-drop .message"), "2 units bought. Thank you!");
  assert.deepEqual(await stock(drop), { total: 5, available: 2, held: 1, sold: 2 });
  await button(page, "Hold another").click();
  await button(page, "Hold it").waitFor();
  const [[held, placed], [purchased, paid], ...others] = await reports(page);
  assert.deepEqual([held, purchased, others], ["held", "purchased", []]);
  assert.deepEqual(
    [placed.hold.quantity, placed.drop.id, paid.purchase.hold_id],
    [2, drop.id, placed.hold.id],
  );
});

test("the element shows the level of a stock whose numbers are withheld", async (t) => {
  const drop = await createDrop({ total_stock: 1, show_stock: "level", low_stock_at: 1 });
  const page = await openSite(t, element(drop));
  await expectText(page.locator("holdfast-drop .stock"), "Only a few left");
  assert.ok(await page.locator("holdfast-drop .bar").isHidden());
  await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "another" });
  await expectText(page.locator("holdfast-drop .stock"), "None left");
});

test("a hold outlasts a reload, and its end is reported", async (t) => {
  const drop = await createDrop({ hold_seconds: 3 });
  const page = await openSite(t, element(drop, 'buyer-id="ann" no-purchase'));
  await button(page, "Hold it").click();
  await page.locator("holdfast-drop .countdown").waitFor();
  assert.equal(await button(page, /^Buy/).count(), 0, "the shop takes the payment");
  await page.reload();
  await expectText(page.locator("holdfast-drop .countdown"), "Reserved for you");
  await expectText(page.locator("holdfast-drop .message"), "The hold ended.");
  assert.deepEqual(
    (await reports(page)).map(([name]) => name),
    ["expired"],
  );
  await button(page, "Hold it").waitFor();
});

test("a lost response is repeated with its key, and a refusal is explained and reported", async (t) => {
  const drop = await createDrop({ total_stock: 1 });
  const expected = [/ERR_FAILED|status of 409/];
  const page = await openSite(t, element(drop), { expected });
  const keys = [];
  await page.route("**/holds", async (route) => {
    if (route.request().method() !== "POST") return route.continue();
    keys.push(route.request().headers()["idempotency-key"]);
    if (keys.length > 1) return route.continue();
    // The server records the hold, and the response is lost.
    await route.fetch();
    return route.abort();
  });
  await button(page, "Hold it").click();
  await page.locator("holdfast-drop .countdown").waitFor();
  assert.equal(keys.length, 2);
  assert.equal(keys[0], keys[1]);
  assert.equal((await stock(drop)).held, 1);
  await page.locator('holdfast-drop button:not([aria-disabled]):has-text("Release")').waitFor();
  await button(page, "Release").click();
  await expectText(page.locator("holdfast-drop .message"), "The hold was released.");

  // The state on the page is older than the server's.
  await page.route("**/holds", async (route) => {
    await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "another" });
    return route.continue();
  });
  await page.locator('holdfast-drop button:not([aria-disabled]):has-text("Hold it")').waitFor();
  await button(page, "Hold it").click();
  await expectText(page.locator("holdfast-drop .message"), "No units are available right now.");
  const last = (await reports(page)).at(-1);
  assert.deepEqual([last[0], last[1].code, last[1].status], ["error", "sold_out", 409]);
});

test("the element takes a code, joins the waitlist, and gets an offer after a reload", async (t) => {
  const drop = await createDrop({ total_stock: 1, hold_seconds: 600, access: "code" });
  const { codes } = await api("POST", `/v1/drops/${drop.id}/codes`, { count: 2 });
  const expected = [/status of 403/];
  const page = await openSite(t, element(drop), { expected });
  const message = page.locator("holdfast-drop .message");
  const code = page.getByLabel("Access code");
  const ready = (name) =>
    page.locator(`holdfast-drop button:not([aria-disabled]):has-text("${name}")`);
  await button(page, "Hold it").click();
  await expectText(message, "This drop requires an access code.");
  await code.fill("nonsense");
  await ready("Hold it").click();
  await expectText(message, "This drop has no such access code.");

  const other = await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "b", code: codes[0] });
  const place = page.locator("holdfast-drop .place");
  await expectText(place, "The waitlist is empty. An offer is a hold for 10 minutes.");
  await code.fill(codes[1].toLowerCase());
  await ready("Join the waitlist").click();
  await expectText(place, "You are 1st on the waitlist.");
  await ready("Leave the waitlist").click();
  await expectText(place, "The waitlist is empty.");
  await ready("Join the waitlist").click();
  await expectText(place, "You are 1st on the waitlist.");
  assert.deepEqual(
    (await reports(page)).map(([name, { entry }]) => [name, entry?.status]),
    [
      ["error", undefined],
      ["error", undefined],
      ["joined", "waiting"],
      ["left", "waiting"],
      ["joined", "waiting"],
    ],
  );
  await page.reload();
  await expectText(place, "You are 1st on the waitlist.");
  await api("DELETE", `/v1/holds/${other.id}`);
  await expectText(page.locator("holdfast-drop .countdown"), "Reserved for you");
  await ready("Buy for").click();
  await expectText(message, "1 unit bought. Thank you!");
  assert.deepEqual(
    (await reports(page)).map(([name]) => name),
    ["held", "purchased"],
  );
});

test("a token names the buyer and is sent with each request", async (t) => {
  const drop = await createDrop();
  const page = await openSite(t, element(drop, ""));
  await expectText(page.locator("holdfast-drop .stock"), "5 of 5 left");
  assert.equal(await button(page, "Hold it").count(), 0, "without a buyer it only shows the stock");
  const sent = page.waitForRequest(
    (request) => request.url().endsWith("/holds") && request.method() === "POST",
  );
  const payload = Buffer.from(JSON.stringify({ sub: "zoë" })).toString("base64url");
  await page.evaluate((value) => {
    document.querySelector("holdfast-drop").token = async () => value;
  }, `e30.${payload}.c2ln`);
  await button(page, "Hold it").click();
  const request = await sent;
  assert.equal(request.headers().authorization, `Bearer e30.${payload}.c2ln`);
  assert.equal(request.postDataJSON().buyer_id, "zoë");
  await page.locator("holdfast-drop .countdown").waitFor();
  // This server has no buyer secret, so it believes the buyer's id.
  const [[name, { hold }]] = await reports(page);
  assert.deepEqual([name, hold.buyer_id], ["held", "zoë"]);
});

test("elements of one page share a stream, and an unknown drop does not stop the others", async (t) => {
  const drops = [await createDrop(), await createDrop()];
  const unknown = { id: "0197d3f2-0000-7000-8000-000000000000" };
  const body = [...drops, unknown].map((drop) => element(drop)).join("");
  const expected = [/status of 404/];
  const page = await open(t, "about:blank", { origins: [BASE, OTHER_SITE], expected });
  const streams = [];
  page.on("request", (request) => {
    if (request.url().includes("/v1/stream")) streams.push(request.url());
  });
  await page.goto(`${OTHER_SITE}/?body=${encodeURIComponent(body)}`);
  const elements = page.locator("holdfast-drop");
  await expectText(elements.nth(2).locator(".message"), "This drop does not exist.");
  for (const [index, drop] of drops.entries()) {
    await elements.nth(index).and(page.locator("[data-live]")).waitFor();
    await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "another" });
    await expectText(elements.nth(index).locator(".stock"), "4 of 5 left");
  }
  assert.ok(streams.at(-1).includes(drops[0].id) && streams.at(-1).includes(drops[1].id), streams);
});

// The phone has light colors.
for (const name of ["dark", "phone"])
  test(`the element is accessible: ${name}`, async (t) => {
    const look = LOOKS[name];
    const drop = await createDrop({ max_per_hold: 2, hold_seconds: 600 });
    const page = await openSite(t, element(drop), look);
    await page.emulateMedia({ colorScheme: look.colorScheme });
    await page.evaluate(() => {
      document.documentElement.style.colorScheme = "light dark";
    });
    const violations = async () => {
      const { violations } = await new AxeBuilder({ page }).include("holdfast-drop").analyze();
      return violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]);
    };
    await button(page, "Hold it").waitFor();
    assert.deepEqual(await violations(), []);
    // By keyboard alone, without a press that reaches the next button.
    await button(page, "Hold it").focus();
    await page.keyboard.press("Enter");
    await page.locator("holdfast-drop .countdown").waitFor();
    await page.locator('holdfast-drop button:not([aria-disabled]):has-text("Buy")').waitFor();
    const focused = () =>
      page.evaluate(
        () => document.querySelector("holdfast-drop").shadowRoot.activeElement?.textContent,
      );
    await eventually("the focus is on the next action", async () =>
      (await focused())?.startsWith("Buy"),
    );
    assert.deepEqual(await violations(), []);
    await page.screenshot({ path: join(OUT, `embed-${name}.png`), fullPage: true });
  });
