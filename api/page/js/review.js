/** What was decided about an incident, and the controls with which an operator decides. */

import { el } from "./dom.js";
import { icon } from "./icons.js";
import { moment, t } from "./i18n.js";
import { review } from "./session.js";

const MOST_NOTE = 500;

export class ReviewBox {
  node = el("section", { class: "review", hidden: true });
  #session;
  #saved;
  #signIn;
  #incident = null;
  #shown = "";
  #isWriting = false;
  #isBusy = false;
  #error = "";

  /**
   * @param {import("./session.js").Session} session
   * @param {(feature: object) => void} saved called with the incident as it is after the decision
   * @param {() => void} signIn called where a visitor wants to decide
   */
  constructor(session, saved, signIn) {
    this.#session = session;
    this.#saved = saved;
    this.#signIn = signIn;
  }

  /** Show the state of `incident`; what is being written is kept until another incident comes. */
  show(incident, language) {
    if (incident.id !== this.#incident?.id) {
      this.#isWriting = false;
      this.#error = "";
    }
    this.#incident = incident;
    const { role, reviews } = this.#session;
    const look = JSON.stringify([incident.id, incident.review, incident.isHeld, role, reviews, this.#isWriting, this.#isBusy, this.#error, language]);
    if (look === this.#shown) return;
    this.#shown = look;
    const hadFocus = this.node.contains(document.activeElement);
    const note = this.node.querySelector("textarea")?.value ?? "";
    const parts = this.#parts(note);
    this.node.replaceChildren(...parts);
    this.node.hidden = parts.length === 0;
    if (hadFocus) (this.node.querySelector("textarea") ?? this.node.querySelector("button"))?.focus({ preventScroll: true });
  }

  #parts(note) {
    const { review: decided, isHeld } = this.#incident;
    const { canReview, reviews, role } = this.#session;
    const parts = decided === null ? [] : [this.#banner(decided)];
    if (isHeld) parts.push(el("p", { class: "verdict-note", text: t(canReview ? "heldDecide" : "heldWhy") }));
    if (canReview) parts.push(this.#isWriting ? this.#form(note) : this.#buttons(decided));
    else if (reviews && role === null && decided === null) {
      parts.push(el("button", { type: "button", class: "button is-quiet", onclick: () => this.#signIn() }, icon("person"), el("span", { text: t("signInToReview") })));
    }
    if (this.#error !== "") parts.push(el("p", { class: "error", role: "alert", text: t("reviewFailed", this.#error) }));
    return parts;
  }

  #banner(decided) {
    const isFalse = decided.verdict === "false_alarm";
    const word = t(isFalse ? "tagFalse" : "tagAcknowledged");
    return el(
      "div",
      { class: `verdict ${isFalse ? "is-false" : "is-acknowledged"}` },
      icon(isFalse ? "flag" : "check"),
      el(
        "div",
        { class: "verdict-words" },
        el("p", { class: "verdict-who", text: t("reviewedBy", word, decided.by, decided.at ? moment(decided.at) : "") }),
        decided.note ? el("p", { class: "verdict-note", text: decided.note }) : null,
      ),
    );
  }

  #buttons(decided) {
    const button = (name, sign, press, kind = "") =>
      el("button", { type: "button", class: `button ${kind}`.trim(), disabled: this.#isBusy, onclick: press }, icon(sign), el("span", { text: t(name) }));
    const write = () => {
      this.#isWriting = true;
      this.#again();
      this.node.querySelector("textarea")?.focus();
    };
    const choices = [
      decided?.verdict === "acknowledged" ? null : button(this.#incident.isHeld ? "release" : "acknowledge", "check", () => this.#decide("acknowledged"), "is-main"),
      decided?.verdict === "false_alarm" ? null : button("markFalse", "flag", write),
      decided === null ? null : button("takeBack", "undo", () => this.#decide(null), "is-quiet"),
    ];
    return el("div", { class: "buttons", role: "group", "aria-label": t("reviewTitle") }, ...choices);
  }

  #form(note) {
    const field = el("textarea", { rows: 2, maxlength: MOST_NOTE, placeholder: t("noteHint"), id: "review-note" });
    field.value = note;
    const cancel = () => {
      this.#isWriting = false;
      this.#again();
    };
    const submit = (event) => {
      event.preventDefault();
      this.#decide("false_alarm", field.value.trim());
    };
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation(); // Escape leaves the note, not the whole panel.
      cancel();
    });
    return el(
      "form",
      { class: "note-form", onsubmit: submit },
      el("label", { for: "review-note", text: t("note") }),
      field,
      el(
        "div",
        { class: "buttons" },
        el("button", { type: "submit", class: "button is-main", disabled: this.#isBusy }, icon("flag"), el("span", { text: t("confirmFalse") })),
        el("button", { type: "button", class: "button is-quiet", onclick: cancel, text: t("cancel") }),
      ),
    );
  }

  async #decide(verdict, note = "") {
    const { id } = this.#incident;
    this.#isBusy = true;
    this.#error = "";
    this.#again();
    let feature = null;
    try {
      feature = await review(id, verdict, note);
    } catch (error) {
      // A key that was withdrawn meanwhile: say who the reader is now.
      if (error.status === 401 || error.status === 403) this.#session.load();
      if (id === this.#incident.id) this.#error = error.message;
    }
    this.#isBusy = false;
    if (id === this.#incident.id && this.#error === "") this.#isWriting = false;
    if (feature !== null) this.#saved(feature);
    this.#again();
  }

  #again() {
    this.show(this.#incident, JSON.parse(this.#shown).at(-1));
  }
}
