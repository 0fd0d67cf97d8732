// Shows the claims that the form above them asks for, and how many these are; a link to a claim's id shows all.
const form = document.querySelector("form.filters");
const rows = [...document.querySelectorAll("table.claims tbody tr")];
function filter() {
  const { role, verdict, table, words } = Object.fromEntries(new FormData(form));
  const sought = words.toLowerCase().split(/\s+/);
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = (role && row.dataset.role !== role) || (verdict && row.dataset.verdict !== verdict)
      || (table && row.dataset.table !== table) || !sought.every(word => text.includes(word));
  }
  form.querySelector("output").textContent = `${rows.filter(row => !row.hidden).length} of ${rows.length}`;
}
form.addEventListener("input", filter);
form.addEventListener("submit", event => event.preventDefault());
if (!location.hash && rows.some(row => row.dataset.role === "primary")) form.elements.role.value = "primary";
filter();
