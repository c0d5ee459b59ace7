"""A small application with bemi-django. Each request says its own path as context, under "step"."""

import sys

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connection, models, transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import path


def context(request):
    """What bemi-django asks for the context of a request."""
    if "nobody" in request.path:
        return {}
    return {"step": request.path, "user": "Zoë \"Z\" O'Hara", "n": 1.5}


def configure(port, password):
    settings.configure(
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "HOST": "127.0.0.1",
                "PORT": port,
                "NAME": "postgres",
                "USER": "postgres",
                "PASSWORD": password,
            }
        },
        INSTALLED_APPS=["bemi"],
        MIDDLEWARE=["bemi.BemiMiddleware"],
        BEMI_CONTEXT_FUNCTION="__main__.context",
        ROOT_URLCONF="__main__",
        ALLOWED_HOSTS=["testserver"],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
    django.setup()


configure(*sys.argv[1:3])


class Item(models.Model):
    name = models.TextField()

    class Meta:
        app_label = "shop"
        db_table = "items"


def add(request, name):
    Item.objects.create(name=name)
    return HttpResponse()


def rename(request, name, new):
    item = Item.objects.get(name=name)
    item.name = new
    item.save()
    return HttpResponse()


def rename_all(request, new):
    Item.objects.filter(name__startswith="bulk").update(name=new)
    return HttpResponse()


def delete(request, name):
    Item.objects.get(name=name).delete()
    return HttpResponse()


def bulk(request, count):
    Item.objects.bulk_create(Item(name=f"bulk {n}") for n in range(count))
    return HttpResponse()


def together(request):
    """Several statements in one transaction, and one that is undone."""
    with transaction.atomic():
        Item.objects.create(name='say "hi" 100%s')
        try:
            with transaction.atomic():
                Item.objects.create(name="undone")
                raise KeyError
        except KeyError:
            Item.objects.filter(name="A").update(name="AA")
    return HttpResponse()


urlpatterns = [
    path("add/<name>", add),
    path("rename/<name>/<new>", rename),
    path("rename-all/<new>", rename_all),
    path("delete/<name>", delete),
    path("bulk/<int:count>", bulk),
    path("together", together),
]


def migrate():
    with connection.schema_editor() as editor:
        editor.create_model(Item)
    call_command("migrate", "bemi", verbosity=0)


def post(*paths):
    for each in paths:
        response = Client().post(each)
        assert response.status_code == 200, response


def write():
    post("/add/a", "/add/b", "/add/c", "/rename/a/A", "/rename/b/B", "/delete/c")
    post("/bulk/5", "/rename-all/renamed", "/add/nobody", "/together")
    # Outside of a request.
    Item.objects.create(name="cron")
    post("/add/last")


def main(what):
    if what == "migrate":
        migrate()
    elif what == "write":
        write()
    elif what == "more":
        post("/add/more")


main(sys.argv[3])
