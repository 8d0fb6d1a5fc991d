from django.db import connection
from django.http import JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods

from .forms import EntryForm
from .models import Entry


@require_http_methods(["GET", "POST"])
def guestbook(request):
    form = EntryForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        form.save()
        return redirect("guestbook")
    return render(request, "guestbook/guestbook.html", {"form": form, "entries": Entry.objects.all()[:50]})


@require_GET
def health(request):
    return JsonResponse({"status": "ok", "database": connection.vendor, "entries": Entry.objects.count()})
