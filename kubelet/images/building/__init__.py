"""Builds images from Dockerfiles: `kctl image build`. The RUN steps run in this project's own runtime.

    dockerfile.py   text to instructions          expand.py    $VARIABLES and quotes
    plan.py         instructions to stages        ignore.py    .dockerignore
    context.py      what COPY and ADD copy        copying.py   how, inside of the image's files
    running.py      RUN                           builder.py   all of it together

Source: https://docs.docker.com/reference/dockerfile/
"""
