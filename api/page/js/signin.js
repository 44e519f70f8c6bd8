/** Signing in with a key: the button in the head of the page and its dialog. */

import { el, setText } from "./dom.js";
import { icon } from "./icons.js";
import { t } from "./i18n.js";

export class SignIn {
  #session;
  #button;
  #dialog;
  #isGate = false;

  /**
   * @param {import("./session.js").Session} session
   * @param {HTMLButtonElement} button shown where signing in makes sense
   * @param {HTMLDialogElement} dialog
   */
  constructor(session, button, dialog) {
    this.#session = session;
    this.#button = button;
    this.#dialog = dialog;
    button.addEventListener("click", () => this.open());
    session.addEventListener("change", () => this.relabel());
    // Without a key there is nothing behind a gate: Escape must not leave an empty page.
    dialog.addEventListener("cancel", (event) => this.#isGate && event.preventDefault());
    dialog.addEventListener("click", (event) => event.target === dialog && !this.#isGate && dialog.close());
  }

  /** Ask for a key; `isGate` where reading needs one. */
  open(isGate = false) {
    this.#isGate = isGate && this.#session.role === null;
    this.#dialog.replaceChildren(this.#session.role === null ? this.#form() : this.#account());
    if (!this.#dialog.open) this.#dialog.showModal();
  }

  /** Say everything again, after the language or the session changed. */
  relabel() {
    const { name, role, reviews, needsKey } = this.#session;
    this.#button.hidden = role === null && !reviews && !needsKey;
    const label = role === null ? t("signIn") : t("signedInAs", name, t(role));
    this.#button.replaceChildren(icon("person"), el("span", { class: "tool-word", text: role === null ? t("signIn") : name }));
    this.#button.setAttribute("aria-label", label);
    this.#button.title = label;
    if (this.#dialog.open) this.open(this.#isGate);
  }

  #form() {
    const field = el("input", { type: "password", id: "key", autocomplete: "current-password", required: true, spellcheck: "false" });
    const error = el("p", { class: "error", role: "alert" });
    const send = el("button", { type: "submit", class: "button is-main", text: t("signIn") });
    const submit = async (event) => {
      event.preventDefault();
      send.disabled = true;
      setText(error, "");
      try {
        await this.#session.signIn(field.value.trim());
        this.#isGate = false;
        this.#dialog.close();
      } catch (refusal) {
        setText(error, t({ 401: "keyWrong", 429: "keyTooMany" }[refusal.status] ?? "signInFailed"));
        field.select();
      }
      send.disabled = false;
    };
    const hint = t(this.#isGate ? "keyNeeded" : "keyHint");
    const cancel = this.#isGate ? null : el("button", { type: "button", class: "button is-quiet", onclick: () => this.#dialog.close(), text: t("cancel") });
    return el(
      "form",
      { class: "dialog-form", onsubmit: submit },
      el("h2", { id: "signin-title", text: t("signIn") }),
      el("p", { class: "dialog-hint", text: hint }),
      el("label", { for: "key", text: t("key") }),
      field,
      error,
      el("div", { class: "buttons" }, send, cancel),
    );
  }

  #account() {
    const leave = async () => {
      await this.#session.signOut().catch(() => this.#session.load());
      this.#dialog.close();
    };
    const { name, role } = this.#session;
    return el(
      "div",
      { class: "dialog-form" },
      el("h2", { id: "signin-title", text: name }),
      el("p", { class: "dialog-hint", text: t(role) }),
      el(
        "div",
        { class: "buttons" },
        el("button", { type: "button", class: "button", onclick: leave, text: t("signOut") }),
        role === "operator" ? el("a", { class: "button", href: "cameras", text: t("cameras") }) : null,
        el("button", { type: "button", class: "button is-quiet", onclick: () => this.#dialog.close(), text: t("close") }),
      ),
    );
  }
}
