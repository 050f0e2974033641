// A shop whose buyers need tokens: the hand-over of a token, the sign-in page of the demo, every
// action of a buyer, and the end of a token.

import assert from "node:assert/strict";
import { createHmac, randomUUID } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { AxeBuilder } from "@axe-core/playwright";
import {
  ADMIN_KEY,
  BASE,
  LOOKS,
  OUT,
  api,
  boxOf,
  close,
  context,
  createDrop,
  eventually,
  expectText,
  fits,
  launch,
  open,
} from "./lib.mjs";

before(async () => {
  await mkdir(OUT, { recursive: true });
  await launch();
});
after(close);

/** The secret of the server: the tests sign tokens as a shop does. */
const SECRET = process.env.HOLDFAST_BUYER_SECRET;
/** A line that a browser writes to the console when a request needs a token. */
const UNAUTHORIZED = [/status of 401/];

function tokenOf(buyer, seconds = 600, secret = SECRET) {
  return tokenWith(JSON.stringify(buyer), seconds, secret);
}

/** A token with a `sub` that is written like this in JSON. */
function tokenWith(sub, seconds = 600, secret = SECRET) {
  const part = (json) => Buffer.from(json).toString("base64url");
  const exp = Math.floor(Date.now() / 1000) + seconds;
  const signed = `${part('{"alg":"HS256","typ":"JWT"}')}.${part(`{"sub":${sub},"exp":${exp}}`)}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

const button = (page, name) => page.getByRole("button", { name });
const panel = (page) => page.locator("hold-panel");
const signIn = (page) => page.locator("sign-in-button a");
const buyerIn = (page) => page.locator("sign-in-button .buyer");
const unique = (name) => `${name}-${randomUUID().slice(0, 8)}`;
const standing = (drop, buyer) => api("GET", `/v1/drops/${drop.id}/buyers/${buyer}`);

/** Opens a page as a buyer whose token the shop hands over. */
async function openAs(t, buyer, path, { seconds, ...options } = {}) {
  const page = await open(t, `${path}#token=${tokenOf(buyer, seconds)}`, options);
  await expectText(buyerIn(page), buyer);
  return page;
}

/** Signs in at the page of the demo, which is open. */
async function signInAtDemo(page, name) {
  await page.getByLabel("Name").fill(name);
  await button(page, "Sign in").click();
  await expectText(buyerIn(page), name.toLowerCase());
}

test("a guest signs in at the demo's page and buys as the name that was chosen", async (t) => {
  const [drop, name] = [await createDrop({ hold_seconds: 600 }), unique("Ann")];
  const page = await open(t, `/drops/${drop.id}?ref=mail`, { expected: UNAUTHORIZED });
  await button(page, "Hold it").click();
  await expectText(panel(page), "Sign in to continue.");
  assert.equal((await api("GET", `/v1/drops/${drop.id}`)).stock.held, 0);
  await signIn(page).click();
  await expectText(page.locator("main"), "part of the demo: anyone may sign in under any name");
  await page.screenshot({ path: join(OUT, "demo-sign-in.png") });
  await button(page, "Sign in").click();
  await expectText(page.locator("#refused"), "Enter a name.");
  await signInAtDemo(page, name);
  assert.equal(page.url(), `${BASE}/drops/${drop.id}?ref=mail`, "without the token");
  await button(page, "Hold it").click();
  await button(page, /^Buy for/).click();
  await expectText(panel(page), "Purchase complete.");
  assert.equal((await standing(drop, name)).purchased, 1);
  // The page of the sign-in is not in the history.
  await page.reload();
  await expectText(panel(page), "Purchase complete.");
  await expectText(buyerIn(page), name.toLowerCase());
});

test("two buyers hold, wait, are offered and buy, each with their own token", async (t) => {
  const drop = await createDrop({ total_stock: 1, hold_seconds: 600, offer_seconds: 600 });
  const [ann, bob] = [unique("ann"), unique("bob")];
  const hers = await openAs(t, ann, `/drops/${drop.id}`);
  const his = await openAs(t, bob, `/drops/${drop.id}`);
  await button(hers, "Hold it").click();
  await button(hers, "Release").waitFor();
  await button(his, "Join the waitlist").click();
  await expectText(panel(his), "You are 1st on the waitlist");
  await button(hers, "Release").click();
  await button(his, /^Buy for/).click();
  await expectText(panel(his), "Purchase complete.");
  const [one, other] = [await standing(drop, ann), await standing(drop, bob)];
  assert.deepEqual([one.held, one.purchased, other.purchased], [0, 0, 1]);
});

test("a guest is asked to sign in before a follow; a follower is notified", async (t) => {
  const [creator, ann] = [unique("nord"), unique("ann")];
  await api("PUT", `/v1/creators/${creator}`, { name: "Atelier Nord" });
  const path = `/creators/${creator}`;
  const page = await open(t, path, { expected: UNAUTHORIZED });
  await button(page, "Follow").click();
  await expectText(page.locator("toast-list"), "Sign in to continue.");
  await page.locator("toast-list").getByRole("link", { name: "Sign in" }).click();
  await signInAtDemo(page, ann);
  await button(page, "Follow").click();
  await page.getByRole("button", { name: "Following", pressed: true }).waitFor();
  await expectText(page.locator("#followers"), "1 follower");
  const drop = await createDrop({ creator_id: creator });
  await expectText(page.locator("notification-bell .unread"), "1");
  await expectText(page.locator("toast-list"), `${drop.name} has started.`);
  // Another buyer of the same browser has neither the follow nor the notification.
  await page.locator("sign-in-button summary").click();
  await button(page, "Sign out").click();
  await signIn(page).click();
  await signInAtDemo(page, unique("bob"));
  await page.getByRole("button", { name: "Follow", exact: true }).waitFor();
  assert.equal(await page.locator("notification-bell li").count(), 0);
});

test("a cart is filled by a guest, ordered after the sign-in, and paid", async (t) => {
  const [drop, ann] = [await createDrop({ hold_seconds: 600 }), unique("ann")];
  const page = await open(t, `/drops/${drop.id}`, { expected: UNAUTHORIZED });
  await button(page, "Add to cart").click();
  await page.goto(`${BASE}/cart`);
  await button(page, "Place the order").click();
  await expectText(page.locator("toast-list"), "Sign in to continue.");
  await signIn(page).click();
  await signInAtDemo(page, ann);
  assert.equal(page.url(), `${BASE}/cart`);
  await button(page, "Place the order").click();
  await page.waitForURL(/\/orders\/[0-9a-f-]{36}$/);
  await button(page, /^Pay/).click();
  const order = await eventually("the order is paid", async () => {
    const [newest] = (await api("GET", `/v1/orders?buyer_id=${ann}`)).data;
    return newest.status === "paid" && newest;
  });
  await page.goto(`${BASE}/cart`);
  await expectText(page.locator("order-list"), "Paid");
  // The order is not for others, nor for guests.
  const other = await openAs(t, unique("bob"), `/orders/${order.id}`, { expected: [/403/] });
  await other.getByRole("heading", { name: "Order not found" }).waitFor();
  const guest = await open(t, `/orders/${order.id}`, { expected: UNAUTHORIZED });
  await expectText(guest.locator("#signed-out"), "Sign in to see it.");
  await guest.evaluate((token) => {
    location.hash = `token=${token}`;
  }, tokenOf(ann));
  await expectText(guest.locator("order-sheet"), /Thank you|paid/i);
  assert.equal(guest.url(), `${BASE}/orders/${order.id}`);
});

test("after the end of a token the hold stays, and is bought after a new sign-in", async (t) => {
  const [drop, ann] = [await createDrop({ hold_seconds: 600 }), unique("ann")];
  const path = `/drops/${drop.id}`;
  const page = await openAs(t, ann, path, { seconds: 15, expected: UNAUTHORIZED });
  await button(page, "Hold it").click();
  await button(page, /^Buy for/).waitFor();
  await expectText(signIn(page), "Sign in again");
  await expectText(page.locator("toast-list"), "Your sign-in has ended.");
  await expectText(panel(page), "1 unit held for you");
  await button(page, /^Buy for/).click();
  await expectText(panel(page), "Sign in to continue.");
  await page.screenshot({ path: join(OUT, "sign-in-again.png") });
  // Neither a reload nor another page of the shop loses it.
  await page.reload();
  await expectText(panel(page), "1 unit held for you");
  await signIn(page).click();
  await signInAtDemo(page, ann);
  await button(page, /^Buy for/).click();
  await expectText(panel(page), "Purchase complete.");
  assert.equal((await standing(drop, ann)).purchased, 1);
});

test("a token that the server refuses is forgotten", async (t) => {
  const drop = await createDrop({ hold_seconds: 600 });
  const refused = [
    tokenOf("ann", -600),
    tokenOf("ann", 600, "another secret of 32 bytes......"),
    tokenOf("ann", 1_000_000),
  ];
  for (const token of refused) {
    const page = await open(t, `/drops/${drop.id}#token=${token}`, { expected: UNAUTHORIZED });
    // The first call of a buyer.
    await button(page, "Hold it").click();
    await expectText(signIn(page), "Sign in again");
    await expectText(panel(page), "Sign in to continue.");
    const stored = await page.evaluate(() => localStorage.getItem("holdfast.session"));
    assert.deepEqual(JSON.parse(stored), { token: "", buyer: "ann" });
  }
  for (const nothing of ["", "x", "a.b.c", "..", `${tokenOf("ann")}.x`, tokenOf("")]) {
    const page = await open(t, `/drops/${drop.id}#token=${nothing}`);
    await expectText(signIn(page), "Sign in");
    assert.equal(page.url(), `${BASE}/drops/${drop.id}`);
  }
});

test("pages read the buyer of a token as the server does", async (t) => {
  const drop = await createDrop({ total_stock: 20 });
  const page = await open(t, "/cart");
  for (const sub of [
    '"Ann"',
    '" bob\\t"',
    '"auth0|5F"',
    '"\u00e9va"',
    '"\u5c71\u7530"',
    "42",
    "-42",
    "9007199254740993",
    "18446744073709551615",
  ]) {
    const token = tokenWith(sub);
    const buyer = await page.evaluate(async (given) => {
      const { claimsOf } = await import("/assets/lib/jwt.js");
      return claimsOf(given)?.buyer;
    }, token);
    const path = `/v1/drops/${drop.id}/holds`;
    const headers = { authorization: `Bearer ${token}` };
    const hold = await api("POST", path, { buyer_id: buyer }, headers);
    assert.equal(hold.buyer_id, buyer, sub);
  }
});

test("a request without a response is repeated after the sign-in and counts once", async (t) => {
  const [drop, ann] = [await createDrop({ hold_seconds: 600 }), unique("ann")];
  const page = await openAs(t, ann, `/drops/${drop.id}`, {
    expected: [...UNAUTHORIZED, /Failed to load|ERR_FAILED/],
  });
  const keys = [];
  await page.route("**/holds", async (route) => {
    keys.push(route.request().headers()["idempotency-key"]);
    if (keys.length === 1) {
      // The server places the hold; its response is lost.
      await route.fetch();
      return route.abort();
    }
    if (keys.length > 2) return route.continue();
    // Meanwhile the token has ended.
    const problem = { status: 401, code: "unauthorized", detail: "The token expired." };
    return route.fulfill({ status: 401, json: problem, contentType: "application/problem+json" });
  });
  await button(page, "Hold it").click();
  await expectText(signIn(page), "Sign in again");
  await expectText(panel(page), "It is unknown whether your hold was placed.");
  await page.evaluate((token) => {
    location.hash = `token=${token}`;
  }, tokenOf(ann));
  await expectText(buyerIn(page), ann);
  await button(page, "Retry").click();
  await button(page, /^Buy for/).waitFor();
  assert.equal(new Set(keys).size, 1);
  assert.equal((await api("GET", `/v1/drops/${drop.id}`)).stock.held, 1);
});

test("the token is sent in one header only, to this server only, and not by the dashboard", async (t) => {
  const drop = await createDrop({ hold_seconds: 600 });
  const within = await context(t);
  const sent = [];
  within.on("request", (request) => sent.push(request));
  const page = await openAs(t, unique("ann"), `/drops/${drop.id}`, { within });
  const token = await page.evaluate(() => JSON.parse(localStorage["holdfast.session"]).token);
  await button(page, "Hold it").click();
  await button(page, /^Buy for/).waitFor();
  await page.locator('connection-state[data-state="live"]').waitFor();
  await page.goto(`${BASE}/cart`);
  const seen = await eventually("buyers' calls", async () => {
    const headers = await Promise.all(sent.map((request) => request.allHeaders()));
    const bearers = headers.filter(({ authorization }) => authorization);
    return bearers.length > 3 && headers;
  });
  for (const [index, headers] of seen.entries()) {
    const url = new URL(sent[index].url());
    assert.ok(!`${url.pathname}${url.search}`.includes(token), String(url));
    const isApi = url.pathname.startsWith("/v1/");
    assert.equal(headers.authorization, isApi ? `Bearer ${token}` : undefined, String(url));
    const { authorization: _, ...others } = headers;
    assert.ok(!JSON.stringify(others).includes(token), String(url));
    assert.ok(!(sent[index].postData() ?? "").includes(token), String(url));
  }
  const given = await page.evaluate(async () => {
    const { tokenFor } = await import("/assets/lib/api.js");
    const other = location.origin.replace("127.0.0.1", "127.0.0.2");
    const paths = ["/v1/drops", "/health/ready", `${other}/v1/drops`, "//shop.example/v1/drops"];
    return [...paths, "https://shop.example/v1/drops"].map(tokenFor);
  });
  assert.deepEqual(given, [token, "", "", "", ""]);

  // The shop's page may send its last requests until it is left.
  await page.goto("about:blank");
  sent.length = 0;
  await page.goto(`${BASE}/admin#token=${token}`);
  await page.fill("#key", ADMIN_KEY);
  await button(page, "Sign in").click();
  await page.locator("metric-tiles").waitFor();
  await page.goto(`${BASE}/admin/orders`);
  await page.locator("#sign-out:enabled").waitFor();
  await eventually("calls of the dashboard", () =>
    sent.some((request) => request.url().includes("/v1/orders")),
  );
  for (const request of sent) {
    const headers = await request.allHeaders();
    assert.equal(headers.authorization, undefined, request.url());
    assert.ok(!JSON.stringify(headers).includes(token), request.url());
  }
});

test("a link cannot make a signed-in buyer act for another one unasked", async (t) => {
  const [ann, bob] = [unique("ann"), unique("bob")];
  const page = await openAs(t, ann, "/");
  const follow = async () => {
    await page.evaluate((token) => {
      location.hash = `token=${token}`;
    }, tokenOf(bob));
    await expectText(page.getByRole("alertdialog"), `A link brought a sign-in for ${bob}.`);
    assert.equal(page.url(), `${BASE}/`);
  };
  await follow();
  await page.screenshot({ path: join(OUT, "another-buyer.png") });
  await button(page, "Continue as before").click();
  await page.getByRole("alertdialog").waitFor({ state: "detached" });
  await expectText(buyerIn(page), ann);
  await follow();
  await button(page, "Change").click();
  await expectText(buyerIn(page), bob);
  // A newer token of the same buyer, whatever its letter case, is taken over.
  await page.goto(`${BASE}/cart#token=${tokenOf(bob.toUpperCase(), 900)}`);
  await expectText(buyerIn(page), bob.toUpperCase());
});

test("all tabs sign in and out together, and a link leads to a part of the page", async (t) => {
  const [ann, within] = [unique("ann"), await context(t)];
  const one = await open(t, "/cart", { within });
  await expectText(signIn(one), "Sign in");
  const other = await open(t, `/#yours&token=${tokenOf(ann)}`, { within });
  assert.equal(other.url(), `${BASE}/#yours`);
  await expectText(buyerIn(one), ann);
  await other.fill("#display-name", "Ann of the shop");
  await other.keyboard.press("Tab");
  await one.locator("sign-in-button summary").click();
  await button(one, "Sign out").click();
  for (const page of [one, other]) await expectText(signIn(page), "Sign in");
  // The display name is a choice of each buyer.
  assert.equal(await other.inputValue("#display-name"), "");
  await other.goto(`${BASE}/?again#token=${tokenOf(ann)}`);
  await eventually(
    "the name is back",
    async () => (await other.inputValue("#display-name")) === "Ann of the shop",
  );
});

test("the demo's page returns to pages of this server only", async (t) => {
  for (const target of [
    "https://shop.example/",
    "//shop.example/x",
    "/\\shop.example/x",
    "javascript:alert(1)",
    "data:text/html,x",
    `blob:${BASE}/x`,
    "",
  ]) {
    const page = await open(t, `/demo/sign-in?return_to=${encodeURIComponent(target)}`);
    await signInAtDemo(page, "ann");
    await page.waitForURL(/\/$/);
    assert.equal(new URL(page.url()).origin, BASE, target);
  }
});

for (const [look, options] of Object.entries(LOOKS)) {
  test(`the sign-in is accessible and fits, ${look}`, async (t) => {
    const buyer = `${unique("a-buyer-with-a-long-id")}@example.com`;
    const axe = async (page) => {
      const { violations } = await new AxeBuilder({ page }).analyze();
      assert.deepEqual(
        violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]),
        [],
      );
      assert.ok(await fits(page));
    };
    const oneLine = async (page) => {
      const { height } = await boxOf(page.locator(".top"));
      assert.ok(height < 64, `the header has ${height} px`);
      assert.ok(await fits(page));
    };
    const guest = await open(t, "/demo/sign-in", options);
    await guest.getByLabel("Name").waitFor();
    await axe(guest);
    await guest.screenshot({ path: join(OUT, `demo-sign-in-${look}.png`) });
    await guest.goto(`${BASE}/`);
    await expectText(signIn(guest), "Sign in");
    await guest.locator("drop-card").first().waitFor();
    await oneLine(guest);
    await axe(guest);
    await guest.screenshot({ path: join(OUT, `shop-signed-out-${look}.png`) });
    const page = await openAs(t, buyer, "/", options);
    await page.locator("sign-in-button summary").click();
    await expectText(page.locator("sign-in-button .box"), `Signed in as ${buyer}.`);
    await axe(page);
    await page.screenshot({ path: join(OUT, `shop-signed-in-${look}.png`) });
    await page.keyboard.press("Escape");
    await page.locator("sign-in-button .box").waitFor({ state: "hidden" });
    // The widest header: a hold with its time, units in the cart, and the end of a token.
    const drop = await createDrop({ hold_seconds: 3000 });
    const path = `/drops/${drop.id}?late#token=${tokenOf(buyer, 12)}`;
    await page.goto(BASE + path);
    await button(page, "Add to cart").click();
    await button(page, "Hold it").click();
    await page.locator("hold-timer a").waitFor();
    await oneLine(page);
    await expectText(signIn(page), "Sign in again");
    await oneLine(page);
    await axe(page);
    await page.screenshot({ path: join(OUT, `sign-in-again-${look}.png`) });
  });
}
