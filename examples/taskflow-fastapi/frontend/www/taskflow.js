const list = document.querySelector("#tasks");
const form = document.querySelector("#new");

async function call(method, path, body) {
  const answer = await fetch(`api/tasks${path}`, {
    method,
    headers: { "content-type": "application/json" },
    body: body && JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status}`);
  return answer.status === 204 ? null : answer.json();
}

function show(task) {
  const item = document.createElement("li");
  const label = document.createElement("label");
  const box = document.createElement("input");
  const remove = document.createElement("button");
  box.type = "checkbox";
  box.checked = task.done;
  box.onchange = () => call("PATCH", `/${task.id}`, { done: box.checked }).then(refresh);
  remove.textContent = "×";
  remove.onclick = () => call("DELETE", `/${task.id}`).then(refresh);
  label.className = task.done ? "done" : "";
  label.append(box, task.title);
  item.append(label, remove);
  return item;
}

async function refresh() {
  const tasks = await call("GET", "");
  list.replaceChildren(...tasks.map(show));
}

form.onsubmit = async (event) => {
  event.preventDefault();
  await call("POST", "", { title: form.title.value });
  form.reset();
  await refresh();
};

refresh();
