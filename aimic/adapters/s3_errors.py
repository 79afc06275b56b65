"""What an S3 store's refusals mean: which may pass, and what to say of the others."""

from typing import Final
from xml.etree.ElementTree import ParseError

from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3 import exceptions

from aimic.adapters import s3_codes
from aimic.adapters.s3_address import Address
from aimic.errors import AimicError, ConflictError, FullError, NotFoundError, UnavailableError

FAILURES: Final = (MinioException, exceptions.HTTPError, ParseError, UnicodeDecodeError)
"""What the client raises when an answer is an error, no S3 answer at all, or doesn't come."""
NO_BUCKET = "NoSuchBucket"
NO_UPLOAD = "NoSuchUpload"
_MISSING = {"NoSuchKey", "NoSuchVersion", NO_BUCKET}
_WRONG_KEY = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "ExpiredToken",
    "AuthorizationQueryParametersError",
}
_BOTH = {"ParentIsObject", "ObjectExistsAsDirectory", "ExistingObjectIsDirectory", "ObjectParentIsFile"}
_CLOCK = {"RequestTimeTooSkewed", "RequestExpired"}
_REGION = {"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException", "InvalidRegion"}
_KEPT = "What was stored before is safe and nothing of this request was kept"


def code_of(error: Exception) -> str:
    """S3's name of the error; empty when the answer had none."""
    return s3_codes.plain(error.code or "") if isinstance(error, S3Error) else ""


def status_of(error: Exception) -> int:
    """The HTTP status; 0 when there was no answer."""
    if isinstance(error, S3Error):
        return error.response.status
    if isinstance(error, ServerError):
        return error.status_code
    if isinstance(error, InvalidResponseError):
        return error._code  # the client has no public name for it
    return 0


def may_pass(error: Exception) -> bool:
    """Whether the same request may succeed a moment later."""
    if isinstance(error, exceptions.HTTPError):
        return not _is_untrusted(error) and not isinstance(error, exceptions.LocationValueError)
    return s3_codes.may_pass(status_of(error), code_of(error))


def explained(error: Exception, what: str, address: Address) -> AimicError:
    """The error for whoever asked for `what`."""
    code = code_of(error)
    if code in _MISSING:
        return NotFoundError(f"There is no object {what}.")
    if code in _BOTH:
        return ConflictError(f"{what} is both an object and the beginning of another object's name.")
    if s3_codes.is_full(status_of(error), code):
        return FullError(f"The object store is full. {_KEPT}; make room in it and try again.")
    if status_of(error):
        return UnavailableError(_refusal(error, address), retry_after_s=5 if may_pass(error) else 30)
    return _unreachable(error, address)


def _refusal(error: Exception, address: Address) -> str:
    """What to say of an answer that is an error."""
    code, status = code_of(error), status_of(error)
    name = f"{status} {code}".strip()
    if code == "PreconditionFailed":
        return "The object was replaced in the store while it was read. Read it again."
    if may_pass(error):
        return (
            f"The object store can't answer just now ({name}). {_KEPT}; try again in a moment. If it stays so, the "
            "store's own log says more."
        )
    happened, remedy = _of_settings(code, status, "region" in str(error), address)
    return f"{happened} ({name}). {_KEPT}. {remedy}"


def _of_settings(code: str, status: int, speaks_of_region: bool, address: Address) -> tuple[str, str]:
    """What happened, and what to do in the settings, ours or the store's."""
    if code in _WRONG_KEY or status == 401:
        return (
            "The object store doesn't accept our key",
            "Check AIMIC_S3_ACCESS_KEY and AIMIC_S3_SECRET_KEY, or the files that their _FILE name.",
        )
    if code in _CLOCK:
        return "The object store's clock and ours differ, so it refuses us", "Set both by a time server."
    if code in _REGION or (status in {301, 307, 400} and speaks_of_region):
        return (
            f"The bucket {address.bucket} isn't in the region {address.region!r}",
            "Write its region into AIMIC_BLOBS_URL: …/bucket?region=NAME.",
        )
    if status == 403:
        return (
            "The object store doesn't allow us this",
            "Check AIMIC_S3_ACCESS_KEY and AIMIC_S3_SECRET_KEY; the key needs s3:ListBucket on the bucket "
            f"{address.bucket}, and s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload in it.",
        )
    return "The object store refused the request", "The store's own log says more; then try again."


def _unreachable(error: Exception, address: Address) -> AimicError:
    url = address.endpoint.url
    if _is_untrusted(error):
        return UnavailableError(
            f"The certificate of the object store at {url} is not trusted ({_KEPT.lower()}). "
            "Put its authority's certificate into a file and name that in AIMIC_S3_CA_FILE.",
            retry_after_s=30,
        )
    if isinstance(error, exceptions.ProxyError):
        return UnavailableError(
            f"The proxy on the way to the object store at {url} can't be used. {_KEPT}. If the store is inside "
            "your network, add its host to NO_PROXY.",
            retry_after_s=30,
        )
    if isinstance(error, ParseError | UnicodeDecodeError):
        return UnavailableError(
            f"What answers at {url} doesn't speak S3. {_KEPT}. Check the host and port in AIMIC_BLOBS_URL.",
            retry_after_s=30,
        )
    return UnavailableError(
        f"The object store at {url} can't be reached or doesn't answer in time. {_KEPT}; try again in a moment."
    )


def _is_untrusted(error: Exception) -> bool:
    return isinstance(error, exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error)
