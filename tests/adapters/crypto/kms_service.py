"""Clients and keys of AWS KMS; moto's server on loopback stands in for AWS."""

from functools import cache

import boto3
from botocore.config import Config

REGION = "eu-central-1"


def client_for(endpoint, **settings):
    """Return a KMS client for an endpoint, with invented credentials, so that boto3 looks for no others."""
    return _session().client(
        "kms",
        region_name=REGION,
        endpoint_url=endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=1, read_timeout=2, **settings),
    )


@cache
def _session():
    """Return one session for all clients, because each session reads the descriptions of the service anew."""
    return boto3.session.Session()


def new_key(client):
    """Make a symmetric key and return its ARN."""
    return client.create_key()["KeyMetadata"]["Arn"]
