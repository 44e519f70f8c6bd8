/** Every word of the page, from the catalogues of the languages that the server names; i18n.js picks from it. */

import { FluentBundle } from "../vendor/fluent/bundle.js";
import { FluentResource } from "../vendor/fluent/resource.js";

/** What says a word that another language lacks, and gives its values their order. */
const SOURCE = "en";

const named = document.querySelector('meta[name="bongsu-languages"]')?.content || "en,ko";
const offered = named.split(",").map((language) => language.trim());
const opened = await Promise.allSettled([...new Set([SOURCE, ...offered])].map(open));
const bundles = new Map(opened.filter((one) => one.status === "fulfilled").map((one) => one.value));
for (const { reason } of opened.filter((one) => one.status === "rejected")) console.error(String(reason));
// A language that could not be loaded is not offered; without English there is no order of values, hence no page.
if (!bundles.has(SOURCE)) throw new Error("the words of the page could not be loaded: load it again");
const here = offered.filter((language) => bundles.has(language));
const languages = here.length > 0 ? here : [SOURCE];

/** Words by language and key: a text, or a function of the values that the English text names, in that order. */
export const WORDS = Object.fromEntries(languages.map((language) => [language, wordsOf(language)]));

async function open(language) {
  const answer = await fetch(`words/${language}.ftl`);
  if (!answer.ok) throw new Error(`words/${language}.ftl: ${answer.status}`);
  // Without the invisible marks around values: names of places stand in titles and labels.
  const bundle = new FluentBundle(language, { useIsolating: false });
  const resource = new FluentResource(await answer.text());
  const errors = bundle.addResource(resource);
  if (errors.length > 0) console.warn(`words/${language}.ftl`, errors);
  return [language, { bundle, messages: resource.body.filter((entry) => entry.value !== null && !entry.id.startsWith("-")) }];
}

function wordsOf(language) {
  const words = {};
  const [own, source] = [bundles.get(language).bundle, bundles.get(SOURCE)];
  for (const { id: key, value } of source.messages) {
    const bundle = own.hasMessage(key) ? own : source.bundle;
    const names = variablesOf(value);
    const say = (values) => bundle.formatPattern(bundle.getMessage(key).value, values);
    words[key] =
      names.length === 0 ? say({}) : (...values) => say(Object.fromEntries(names.map((name, at) => [name, values[at]])));
  }
  return words;
}

/** The names of a text's values, in the order in which they first come. */
function variablesOf(part, found = new Set()) {
  if (Array.isArray(part)) for (const one of part) variablesOf(one, found);
  else if (part?.type === "var") found.add(part.name);
  else if (part?.type === "select") variablesOf([part.selector, ...part.variants.map((one) => one.value)], found);
  else if (part?.type === "func") variablesOf(part.args, found);
  return [...found];
}
