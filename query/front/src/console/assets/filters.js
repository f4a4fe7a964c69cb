// Filters that are in the address: a link shows what was seen, and going back goes back.

// Whatever the form's fields are named is a key of the query string; an empty one is left out. `changed` is given all
// of them, now and whenever one is changed.
export function filters(form, changed) {
  const fields = () => [...form.elements].filter((field) => field.name);
  const read = () => Object.fromEntries(fields().map((field) => [field.name, field.value.trim()]).filter(([, value]) => value));
  const fill = () => {
    const wanted = new URLSearchParams(location.search);
    for (const field of fields()) {
      const value = wanted.get(field.name) ?? field.dataset.default ?? "";
      // A choice that has not come yet is there all the same.
      if (field.tagName === "SELECT" && value && ![...field.options].some((option) => option.value === value)) field.append(new Option(value, value));
      field.value = value;
    }
  };
  const write = (how) => {
    const words = new URLSearchParams(location.search), values = read();
    for (const field of fields()) {
      if (values[field.name] && values[field.name] !== field.dataset.default) words.set(field.name, values[field.name]); else words.delete(field.name);
      // What is chosen by default is left out; what is chosen to be nothing is said.
      if (!values[field.name] && field.dataset.default) words.set(field.name, "");
    }
    history[how]({}, "", words.size ? `?${words}` : location.pathname);
  };
  let wait = null;
  form.addEventListener("submit", (event) => { event.preventDefault(); write("pushState"); changed(read()); });
  form.addEventListener("input", (event) => {
    clearTimeout(wait);
    wait = setTimeout(() => { write("replaceState"); changed(read()); }, event.target.tagName === "SELECT" ? 0 : 300);
  });
  addEventListener("popstate", () => { fill(); changed(read()); });
  fill();
  return { read, set: (name, value) => { form.elements[name].value = value; write("replaceState"); changed(read()); } };
}

// The options of a choice; what is chosen stays.
export function options(select, values, all) {
  const chosen = select.value, texts = [...(all === undefined ? [] : [["", all]]), ...values.map((value) => Array.isArray(value) ? value : [value, value])];
  if (chosen && !texts.some(([value]) => value === chosen)) texts.push([chosen, chosen]);
  select.replaceChildren(...texts.map(([value, text]) => new Option(text, value)));
  if (texts.some(([value]) => value === chosen)) select.value = chosen;
}
