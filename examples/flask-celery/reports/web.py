from flask import Flask, abort, jsonify, render_template, request
from kombu.exceptions import OperationalError

from .tasks import queue, report

app = Flask(__name__)


@app.get("/")
def page():
    return render_template("reports.html")


@app.get("/health")
def health():
    return jsonify(status="ok")


@app.post("/reports")
def order():
    wanted = request.get_json()
    if not isinstance(wanted, dict) or not isinstance(wanted.get("text"), str):
        abort(400, "a report needs a text")
    try:
        ordered = report.delay(wanted["text"])
    except OperationalError as error:
        abort(503, f"the queue does not take it: {error}")
    return jsonify(id=ordered.id), 202


@app.get("/reports/<uuid:report_id>")
def look(report_id):
    result = queue.AsyncResult(str(report_id))
    answer = {"id": str(report_id), "state": result.state}
    if result.successful():
        answer["report"] = result.result
    return jsonify(answer)
