"""Why a generation failed, or was not begun, in words for people.

Reasons are told apart for programs; people are told what they can do about it, so that several
reasons share a text. A key never changes its meaning; a text may be improved at any time.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ledger_service.api.languages import Language


class Text(NamedTuple):
    """One text in every language, in their order."""

    en: str
    tr: str
    es: str

    def told_in(self, language: Language) -> str:
        """The text in this language."""
        found: str = getattr(self, language)
        return found


ANY_OTHER: Final = "failure.provider_error"
"""For reasons that we have never heard of: providers make up new ones."""

TEXTS: Final[dict[str, Text]] = {
    "failure.cancelled": Text(
        "It was cancelled.",
        "İptal edildi.",
        "Se canceló.",
    ),
    "failure.deadline": Text(
        "It took longer than it may.",
        "İzin verilen süreyi aştı.",
        "Tardó más de lo permitido.",
    ),
    "failure.not_processed": Text(
        "It could not be worked on. Please try again.",
        "İşleme alınamadı. Lütfen yeniden deneyin.",
        "No se pudo procesar. Inténtelo de nuevo.",
    ),
    "failure.provider_unreachable": Text(
        "The provider could not be reached. Please try again.",
        "Sağlayıcıya ulaşılamadı. Lütfen yeniden deneyin.",
        "No se pudo contactar con el proveedor. Inténtelo de nuevo.",
    ),
    "failure.provider_busy": Text(
        "The provider had no room for it. Please try again later.",
        "Sağlayıcı şu anda çok yoğun. Lütfen daha sonra yeniden deneyin.",
        "El proveedor estaba saturado. Inténtelo más tarde.",
    ),
    "failure.provider_closed": Text(
        "The provider takes no orders from us at the moment. Please try again later.",
        "Sağlayıcı şu anda isteklerimizi kabul etmiyor. Lütfen daha sonra yeniden deneyin.",
        "El proveedor no acepta nuestros pedidos por ahora. Inténtelo más tarde.",
    ),
    "failure.provider_trouble": Text(
        "The provider had a technical problem. Please try again.",
        "Sağlayıcıda teknik bir sorun oluştu. Lütfen yeniden deneyin.",
        "El proveedor tuvo un problema técnico. Inténtelo de nuevo.",
    ),
    "failure.provider_lost_it": Text(
        "The provider knows nothing of it any more. Please try again.",
        "Sağlayıcıda artık bu isteğin kaydı yok. Lütfen yeniden deneyin.",
        "El proveedor ya no tiene constancia del pedido. Inténtelo de nuevo.",
    ),
    "failure.provider_error": Text(
        "The provider could not make it.",
        "Sağlayıcı bunu oluşturamadı.",
        "El proveedor no pudo crearlo.",
    ),
    "failure.content_policy": Text(
        "The provider's rules do not allow this content. Please describe it differently.",
        "Sağlayıcının kuralları bu içeriğe izin vermiyor. Lütfen farklı bir şekilde tarif edin.",
        "Las normas del proveedor no permiten este contenido. Descríbalo de otra manera.",
    ),
    "failure.invalid_input": Text(
        "The provider did not accept the input. Please check it.",
        "Sağlayıcı girdiyi kabul etmedi. Lütfen kontrol edin.",
        "El proveedor no aceptó los datos. Revíselos.",
    ),
    "failure.input_file": Text(
        "The provider could not use the file that was given. Please try another one.",
        "Sağlayıcı verilen dosyayı kullanamadı. Lütfen başka bir dosya deneyin.",
        "El proveedor no pudo usar el archivo indicado. Pruebe con otro.",
    ),
    "failure.no_asset": Text(
        "The provider said it was done and had nothing to show.",
        "Sağlayıcı işin bittiğini bildirdi ama ortada bir sonuç yoktu.",
        "El proveedor dijo que había terminado, pero no entregó nada.",
    ),
    "failure.media_lost": Text(
        "The result was gone before it could be stored.",
        "Sonuç kaydedilemeden kayboldu.",
        "El resultado desapareció antes de poder guardarse.",
    ),
    "failure.media_unusable": Text(
        "The provider's result was nothing that can be stored.",
        "Sağlayıcının sonucu kaydedilebilecek nitelikte değildi.",
        "El resultado del proveedor no se puede guardar.",
    ),
}
CONTENT_REFUSED_KEY: Final = "refusal.content"
CONTENT_REFUSED: Final = Text(
    "This content is not allowed here. Please describe it differently.",
    "Bu içeriğe burada izin verilmiyor. Lütfen farklı bir şekilde tarif edin.",
    "Este contenido no está permitido aquí. Descríbalo de otra manera.",
)
"""For an order that was refused before anything was charged."""
CREDITS_BACK: Final = Text(
    "The credits came back.",
    "Krediler iade edildi.",
    "Los créditos se han devuelto.",
)

_REASONS: Final = {
    "failure.cancelled": "cancelled client_cancelled client_disconnected",
    "failure.deadline": "deadline",
    "failure.not_processed": "too_many_claims",
    "failure.provider_unreachable": (
        "too_many_attempts provider_unreachable not_sent_in_time not_found_at_provider"
    ),
    "failure.provider_busy": "provider_busy provider_paused concurrent_requests_limit queue_full",
    "failure.provider_closed": "provider_key_refused provider_account_locked provider_down",
    "failure.provider_trouble": (
        "internal_server_error generation_timeout downstream_service_error"
        " downstream_service_unavailable request_timeout startup_timeout"
        " runner_scheduling_failure runner_connection_timeout runner_connection_refused"
        " runner_connection_error runner_disconnected runner_incomplete_response"
        " runner_server_error internal_error"
    ),
    "failure.provider_lost_it": "request_lost",
    "failure.provider_error": "provider_error",
    "failure.content_policy": "content_policy_violation",
    "failure.invalid_input": (
        "invalid_input bad_request feature_not_supported value_error one_of greater_than"
        " greater_than_equal less_than less_than_equal multiple_of sequence_too_short"
        " sequence_too_long"
    ),
    "failure.input_file": (
        "image_load_error image_too_small image_too_large file_download_error file_too_large"
        " face_detection_error unsupported_image_format unsupported_video_format"
        " unsupported_audio_format audio_duration_too_long audio_duration_too_short"
        " video_duration_too_long video_duration_too_short invalid_archive"
        " archive_file_count_below_minimum archive_file_count_exceeds_maximum"
    ),
    "failure.no_asset": "no_asset no_media_generated",
    "failure.media_lost": "media_lost",
    "failure.media_unusable": "media_refused media_too_large media_invalid",
}
KEYS: Final = {reason: key for key, reasons in _REASONS.items() for reason in reasons.split()}
"""The text's key by the reason of a failure."""


def key_of_reason(reason: str) -> str:
    """The key of the text for a reason, known or not."""
    return KEYS.get(reason, ANY_OTHER)


def failure_text(key: str, language: Language, *, had_cost: bool) -> str:
    """The text; of what had a price it says that the credits came back."""
    told = TEXTS[key].told_in(language)
    return f"{told} {CREDITS_BACK.told_in(language)}" if had_cost else told
