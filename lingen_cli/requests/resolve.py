"""From any request to its job."""

from __future__ import annotations

from dataclasses import replace

from lingen_cli.inputs.request import (
    BranchRequest,
    ExtendRequest,
    GenerateRequest,
    Request,
    RerunRequest,
    RetakeRequest,
)
from lingen_cli.requests.context import Context
from lingen_cli.requests.edit_video import branch, extend, retake
from lingen_cli.requests.job import Job
from lingen_cli.requests.new_video import new_video
from lingen_cli.requests.read_recipe import rerun


def resolve(request: Request, context: Context) -> Job:
    """Check a request and settle every open choice.

    Raises InvalidOptionError and UnknownNameError (2), MissingInputError (66), BadDataError (65),
    NotAvailableError (69), PermissionDeniedError (77).
    """
    if isinstance(request, GenerateRequest):
        job = new_video(request, context)
    elif isinstance(request, ExtendRequest):
        job = extend(request, context)
    elif isinstance(request, BranchRequest):
        job = branch(request, context)
    elif isinstance(request, RetakeRequest):
        job = retake(request, context)
    elif isinstance(request, RerunRequest):
        job = rerun(request, context)
    else:
        raise TypeError(f"no request for a video: {request!r}")
    if request.no_metadata:
        return replace(job, output=replace(job.output, metadata=False))
    return job
