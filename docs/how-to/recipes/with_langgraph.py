"""Tools of a LangChain or LangGraph agent that call an API for the user of the conversation."""

import httpx2
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, tool
from langgraph.types import interrupt

from vault_adapters import Account, ReauthorizationRequiredError, TokenNotFoundError, TokenVault
from vault_adapters.clients.httpx2 import VaultAuth


def tools_of(vault: TokenVault, url: str, *, hosts: list[str] | None = None) -> list[BaseTool]:
    @tool
    async def list_files(config: RunnableConfig) -> str:
        """List the user's files."""
        # The host sets tenant and user. Arguments of a tool come from the model, so they must not name an account.
        account = Account(config["configurable"]["tenant_id"], "google", config["configurable"]["user_id"])
        async with httpx2.AsyncClient(auth=VaultAuth(vault, account, hosts=hosts)) as http:
            while True:
                try:
                    return (await http.get(url)).text
                except (TokenNotFoundError, ReauthorizationRequiredError):
                    interrupt({"connect": account.provider})  # returns once the host resumes the conversation

    return [list_files]
