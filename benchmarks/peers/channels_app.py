"""The Django Channels peer, built as the chat that HeartLink replaces: one consumer, `group_send`, the in-memory layer.

Run by Daphne as `channels_app:application`. With PEER_DATABASE set to a file, every message is saved by Django's ORM to
SQLite, with Django's default settings, before it is sent on.
"""

# This file runs in the peers' own environment, where HeartLink's is not installed.
# mypy: ignore-errors

import os

import django
from django.conf import settings

DATABASE = os.environ.get("PEER_DATABASE", "")

settings.configure(
    SECRET_KEY="benchmark",
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["channels"],
    USE_TZ=True,
    # The layer drops what is over its capacity, 100 by default; none of the workloads may lose a delivery.
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 10_000}}},
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATABASE}} if DATABASE else {},
)
django.setup()

from channels.db import database_sync_to_async  # noqa: E402
from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.db import connection, models  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils import timezone  # noqa: E402


class Message(models.Model):
    """A chat message as the replaced system kept it."""

    room_id = models.CharField(max_length=100, db_index=True)
    sender = models.CharField(max_length=150)
    content = models.TextField()
    message_type = models.CharField(max_length=20, default="text")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "peer"


if DATABASE:
    with connection.schema_editor() as editor:
        editor.create_model(Message)


class ChatConsumer(AsyncJsonWebsocketConsumer):
    """One member of the room that the path names."""

    async def connect(self):
        self.room_id = self.scope["url_route"]["kwargs"]["room_id"]
        self.group = f"chat_{self.room_id}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive_json(self, content):
        identity, created_at = content["client_id"], timezone.now()
        if DATABASE:
            message = await self.save(content["content"])
            identity, created_at = message.pk, message.created_at
        await self.channel_layer.group_send(
            self.group,
            {
                "type": "chat_message",
                "message": {
                    "id": identity,
                    "room_id": self.room_id,
                    "sender": "user",
                    "content": content["content"],
                    "message_type": "text",
                    "reply_to": None,
                    "reactions": {},
                    "created_at": created_at.isoformat(timespec="milliseconds"),
                },
            },
        )

    @database_sync_to_async
    def save(self, content):
        return Message.objects.create(room_id=self.room_id, sender="user", content=content)

    async def chat_message(self, event):
        await self.send_json({"type": "chat_message", "message": event["message"]})


application = ProtocolTypeRouter({"websocket": URLRouter([path("ws/chat/<str:room_id>/", ChatConsumer.as_asgi())])})
