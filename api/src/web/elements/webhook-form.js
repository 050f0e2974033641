// The administrator's actions for one webhook endpoint, each in a dialog.

import { Problem, call, callUntilDecided } from "../lib/api.js";
import { h } from "../lib/dom.js";
import { exact } from "../lib/format.js";
import { control, fieldProblem, openDialog } from "./form-dialog.js";
import { toast } from "./toast-list.js";

/** @typedef {import("../lib/api.js").Endpoint} Endpoint */

/** @param {HTMLFormElement} form @param {string} name */
function textOf(form, name) {
  return String(new FormData(form).get(name) ?? "").trim();
}

/** The types of webhooks that this server sends. @type {Promise<string[]> | undefined} */
let types;

/** Reads the types from the API's description, so that the page has no list of its own. */
function allTypes() {
  types ??= call("/openapi.json").then((document) => document.components.schemas.WebhookType.enum);
  types.catch(() => {
    types = undefined;
  });
  return types;
}

/**
 * The fields of an endpoint.
 * @param {string[]} all the types @param {Endpoint} [endpoint]
 */
function fields(all, endpoint) {
  const chosen = endpoint?.event_types ?? null;
  // A type that a later version sends, or that this one does not send any more, stays selected.
  const listed = [...new Set([...all, ...(chosen ?? [])])];
  const every = h("input", { type: "checkbox", name: "every", checked: chosen === null });
  const boxes = listed.map((type) =>
    h(
      "label",
      { class: "check" },
      h("input", {
        type: "checkbox",
        name: "event_types",
        value: type,
        checked: chosen?.includes(type) ?? false,
      }),
      type,
    ),
  );
  const some = h("div", { class: "checks" }, ...boxes);
  const show = () => {
    some.hidden = every.checked;
  };
  every.addEventListener("change", show);
  show();
  return [
    control(
      {
        name: "url",
        words: "URL",
        type: "url",
        whole: true,
        hint: "A public https address.",
        attributes: { required: true, maxlength: 2048, autocomplete: "off" },
      },
      endpoint?.url ?? "",
    ),
    control(
      {
        name: "description",
        words: "Description",
        whole: true,
        attributes: { maxlength: 500, autocomplete: "off" },
      },
      endpoint?.description ?? "",
    ),
    h(
      "fieldset",
      {},
      h("legend", {}, "Types"),
      h("label", { class: "check" }, every, "All, also those of later versions"),
      some,
      h("p", { class: "error", id: "field-every-error" }),
    ),
  ];
}

/** The body of the form. @param {HTMLFormElement} form */
function bodyOf(form) {
  const data = new FormData(form);
  const chosen = data.getAll("event_types").map(String);
  if (!data.has("every") && chosen.length === 0)
    throw fieldProblem("every", "Choose at least one type.");
  return {
    url: textOf(form, "url"),
    event_types: data.has("every") ? null : chosen,
    description: textOf(form, "description") || null,
  };
}

/** Shows a secret, which no other response contains. @param {Endpoint} endpoint */
function showSecret({ url, secret = "", previous_secret_expires_at: until }) {
  const shown = h("input", {
    id: "secret",
    class: "code",
    type: "text",
    readonly: true,
    value: secret,
    autocomplete: "off",
    spellcheck: "false",
  });
  shown.addEventListener("focus", () => shown.select());
  const copy = h("button", { type: "button", class: "secondary" }, "Copy");
  copy.addEventListener("click", async () => {
    shown.select();
    try {
      await navigator.clipboard.writeText(secret);
      copy.textContent = "Copied";
    } catch {
      // Without HTTPS there is no clipboard: the selected text can be copied by keyboard.
      copy.textContent = "Press Ctrl+C";
    }
  });
  openDialog(
    "Signing secret",
    [
      h("p", {}, `Verifies the signatures of ${url}. It is shown only now: store it.`),
      h(
        "div",
        { class: "field whole" },
        h("label", { for: "secret" }, "Secret"),
        h("div", { class: "joined" }, shown, copy),
      ),
      h(
        "p",
        { class: "hint" },
        until ? `The earlier secret signs as well until ${exact(until)}.` : "",
      ),
    ],
    { words: "I have stored it", kind: "primary", keep: "" },
    async () => "The secret is not shown again.",
  );
}

/** Opens the form of a new endpoint. */
export async function openNewEndpoint() {
  const all = await readTypes();
  if (!all) return;
  openDialog(
    "New endpoint",
    fields(all),
    { words: "Create the endpoint", kind: "primary", keep: "Close" },
    async (form) => {
      const { event_types, description, url } = bodyOf(form);
      const created = await call("/v1/admin/webhooks", {
        method: "POST",
        body: {
          url,
          ...(event_types ? { event_types } : {}),
          ...(description ? { description } : {}),
        },
      });
      // After this dialog has closed and returned the focus.
      setTimeout(() => showSecret(created));
      return "The endpoint is created.";
    },
  );
}

async function readTypes() {
  try {
    return await allTypes();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    toast(problem.message, { kind: "refusal" });
    return null;
  }
}

/** @param {Endpoint} endpoint */
export async function openEditEndpoint(endpoint) {
  const all = await readTypes();
  if (!all) return;
  openDialog(
    "Edit the endpoint",
    fields(all, endpoint),
    { words: "Save", kind: "primary", keep: "Close" },
    async (form) => {
      await callUntilDecided(`/v1/admin/webhooks/${endpoint.id}`, {
        method: "PATCH",
        body: bodyOf(form),
      });
      return "Saved.";
    },
  );
}

/** @param {Endpoint} endpoint */
export function openDeleteEndpoint(endpoint) {
  openDialog(
    "Delete the endpoint",
    [
      h("p", {}, endpoint.url),
      h(
        "p",
        {},
        "Nothing more is sent to it, and its deliveries are forgotten. This cannot be undone.",
      ),
    ],
    { words: "Delete the endpoint", kind: "danger", keep: "Keep the endpoint" },
    async () => {
      await callUntilDecided(`/v1/admin/webhooks/${endpoint.id}`, { method: "DELETE" });
      return "The endpoint is deleted.";
    },
  );
}

/** @param {Endpoint} endpoint */
export function openRotate(endpoint) {
  openDialog(
    "New signing secret",
    [
      h("p", {}, endpoint.url),
      h("p", {}, "For 24 hours the present secret signs as well, so that the receiver can change."),
    ],
    { words: "Create a new secret", kind: "primary", keep: "Keep the present secret" },
    async () => {
      const rotated = await call(`/v1/admin/webhooks/${endpoint.id}/rotate-secret`, {
        method: "POST",
      });
      setTimeout(() => showSecret(rotated));
      return "A new secret is in use.";
    },
  );
}

/** @param {Endpoint} endpoint */
export function openReplay(endpoint) {
  openDialog(
    "Deliver again",
    [
      h("p", {}, endpoint.url),
      control(
        {
          name: "after",
          words: "After the log position",
          type: "number",
          whole: true,
          hint: `Every later event is delivered again, with the same ids. The endpoint is at position ${endpoint.position}.`,
          attributes: { min: 0, max: endpoint.position, step: 1, required: true },
        },
        String(endpoint.position),
      ),
    ],
    { words: "Deliver again", kind: "primary", keep: "Close" },
    async (form) => {
      await callUntilDecided(`/v1/admin/webhooks/${endpoint.id}/replay`, {
        method: "POST",
        body: { after: Number(textOf(form, "after")) },
      });
      return "The events are delivered again.";
    },
  );
}
